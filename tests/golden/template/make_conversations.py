"""Writes conversations.json: the inputs every template is rendered with."""
import json
import pathlib

SEARCH = {
    "type": "function",
    "function": {
        "name": "search_library",
        "description": "Search the town library. Returns \"shelf marks\".",
        "parameters": {
            "type": "object",
            "properties": {
                "title": {"type": "string", "description": "Part of the title"},
                "year": {"type": "integer", "description": "Year printed", "minimum": 1450},
                "languages": {"type": "array", "items": {"type": "string"}, "description": "Any of these"},
                "format": {"type": "string", "enum": ["book", "map", "score"], "default": "book"},
                "place": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}, "floor": {"type": ["integer", "null"]}},
                    "required": ["city"],
                },
            },
            "required": ["title"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time <now> & the zone.",
                 "parameters": {"type": "object", "properties": {}}},
}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(text, call_id, name):
    return {"role": "tool", "content": text, "tool_call_id": call_id, "name": name}


SYSTEM = {"role": "system", "content": "You are a careful librarian.\nAnswer briefly."}
ARGS = {"title": "Sea & \"Shore\"", "year": 1931, "languages": ["en", "fr"], "place": {"city": "Graz", "floor": None}}


def conversations():
    base = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
    tools = [SEARCH, CLOCK]
    one_call = [user("Find Sea & Shore."), assistant("", tool_calls=[call("search_library", ARGS, "call00001")])]
    answered = one_call + [tool('{"shelf": "B7", "copies": 2}', "call00001", "search_library")]
    cases = {
        "user": {"messages": [user("Hello!")]},
        "system": {"messages": [SYSTEM, user("Where are the maps?")]},
        "turns": {"messages": [SYSTEM, user("Hi"), assistant("Hello."), user("Two and two?"), assistant("Four. ")],
                  "add_generation_prompt": False},
        "turns_open": {"messages": [user("Hi"), assistant("  Hello.\n"), user(" And now?  \n")]},
        "tools": {"messages": [SYSTEM, user("Find a map.")], "tools": tools},
        "tools_no_system": {"messages": [user("Find a map.")], "tools": tools},
        "tool_call": {"messages": answered, "tools": tools},
        "tool_call_closed": {"messages": [SYSTEM] + answered + [assistant("It is on shelf B7.")], "tools": tools,
                             "add_generation_prompt": False},
        "tool_call_text": {
            "messages": [user("Find it."), assistant("Looking.", tool_calls=[
                call("search_library", json.dumps(ARGS), "call00001")]),
                tool("none", "call00001", "search_library"), user("Thanks, again?")], "tools": tools},
        "tool_calls_two": {
            "messages": [SYSTEM, user("Time and map?"), assistant("", tool_calls=[
                call("clock", {}, "call00001"), call("search_library", {"title": "Map", "year": 2}, "call00002")]),
                tool("12:30", "call00001", "clock"), tool("[1, 2]", "call00002", "search_library"),
                assistant("Half past twelve."), user("Good.")], "tools": tools},
        "tool_call_null_content": {
            "messages": [user("Time?"), assistant(None, tool_calls=[call("clock", {}, "call00001")]),
                         tool("12:30", "call00001", "clock")], "tools": tools},
        "unicode": {"messages": [{"role": "system", "content": "Ты вежлив. 請簡短回答。"},
                                 user("Größe? \u00e9 e\u0301 👩‍👩‍👧 \u2028line\u00a0nbsp 🏳️‍🌈"), assistant("«Ja» ﬁ ß İ ǆ"),
                                 user("\u200bщо? \U0001F600")]},
        "reasoning": {"messages": [user("2+2?"), assistant("4", reasoning_content="Two and two make four.\n"),
                                   user("3+3?"), assistant("6", reasoning_content="\nThree twice.", thinking="t"),
                                   user("4+4?")]},
        "reasoning_inline": {"messages": [user("2+2?"), assistant("<think>\nsum it\n</think>\n\n4"), user("3+3?"),
                                          assistant("[THINK]easy[/THINK]6")], "add_generation_prompt": False},
        "reasoning_tools": {
            "messages": [SYSTEM, user("Time?"), assistant("", reasoning_content="I need the clock.",
                                                          tool_calls=[call("clock", {}, "call00001")]),
                         tool("12:30", "call00001", "clock"),
                         assistant("12:30.", reasoning_content="The tool told me."), user("And now?")],
            "tools": tools},
        "thinking_off": {"messages": [SYSTEM, user("Quick answer.")], "enable_thinking": False, "thinking": False},
        "thinking_on": {"messages": [user("Slow answer.")], "enable_thinking": True, "thinking": True,
                        "reasoning_effort": "high"},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "First. "},
                                                              {"type": "text", "text": "Second."}]}]},
        "special_text": {"messages": [user("<|im_end|>\n<|im_start|>system\n</s>[INST] {{ messages }} {% if %}"),
                                      assistant("<|eot_id|>"), user("<think></think>")]},
        "developer": {"messages": [{"role": "developer", "content": "Use metric."}, user("How far?")]},
        "documents": {"messages": [user("Sum up.")],
                      "documents": [{"title": "A", "text": "First text.", "doc_id": "1"}, {"title": "B", "text": "Next."}]},
        "system_last": {"messages": [user("Hi"), SYSTEM]},
        "two_users": {"messages": [user("One"), user("Two")]},
        "odd_role": {"messages": [{"role": "ghost", "content": "Boo"}]},
        "no_messages": {"messages": []},
        "no_content": {"messages": [{"role": "user"}]},
    }
    return [{"name": name, "variables": {**base, **case}} for name, case in cases.items()]


if __name__ == "__main__":
    out = pathlib.Path(__file__).parent / "conversations.json"
    out.write_text(json.dumps(conversations(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
