// The chat: one conversation, streamed, stopped by a button or Esc. No library, no storage but the key of this tab.
"use strict";

const $ = (id) => document.getElementById(id);
let turns = [];             // {role, content} as the API takes them; a new list is a new chat
let running = null;         // the AbortController of the answer that streams

function headers() {
  const key = sessionStorage.getItem("key");
  return key ? { "Authorization": "Bearer " + key } : {};
}

async function ask(path, body) {
  const options = body ? { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers() } } : { headers: headers() };
  if (body && running) options.signal = running.signal;
  const answer = await fetch(path, options);
  if (answer.status === 401) $("key-label").hidden = false;
  if (!answer.ok) {
    let text = answer.status + " " + answer.statusText;
    try { text = (await answer.json()).error.message; } catch (ignored) { /* not JSON */ }
    throw new Error(text);
  }
  return answer;
}

function show(role, text) {
  $("empty").hidden = true;
  const turn = document.createElement("p");
  turn.className = "turn " + role;
  turn.textContent = text;
  $("log").append(turn);
  $("log").scrollTop = $("log").scrollHeight;
  return turn;
}

function settings() {
  const chosen = {};
  for (const name of ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"]) {
    if ($(name).value !== "") chosen[name] = Number($(name).value);
  }
  return chosen;
}

// The data of each server-sent event.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    left += value;
    for (let end = left.indexOf("\n\n"); end >= 0; end = left.indexOf("\n\n")) {
      const event = left.slice(0, end);
      left = left.slice(end + 2);
      if (event.startsWith("data: ") && event !== "data: [DONE]") yield JSON.parse(event.slice(6));
    }
  }
}

function busy(yes) {
  $("send").hidden = yes;
  $("stop").hidden = !yes;
}

// Where an answer's reasoning goes: above it, open while it comes; made when there is some.
function reasoning(turn) {
  const fold = document.createElement("details");
  fold.className = "reasoning";
  fold.open = true;
  const title = document.createElement("summary");
  title.textContent = "Reasoning";
  const text = document.createTextNode("");
  fold.append(title, text);
  turn.before(fold);
  return { fold, text };
}

function note(turn, text) {
  const line = document.createElement("span");
  line.className = "note";
  line.textContent = text;
  turn.append(line);
}

async function answer() {
  const system = $("system").value.trim();
  const mine = turns;
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...turns];
  const turn = show("assistant", "");
  const piece = document.createTextNode("");
  turn.append(piece);
  running = new AbortController();
  busy(true);
  const begun = performance.now();
  let first = 0, tokens = 0, why = "", thought = null;
  try {
    const stream = await ask("v1/chat/completions", { messages, stream: true, stream_options: { include_usage: true }, ...settings() });
    for await (const event of events(stream)) {
      if (event.error) throw new Error(event.error.message);
      if (event.usage) tokens = event.usage.completion_tokens;
      const choice = event.choices && event.choices[0];
      if (!choice) continue;
      if (choice.finish_reason) why = choice.finish_reason;
      const thinks = choice.delta && choice.delta.reasoning_content, says = choice.delta && choice.delta.content;
      if (!thinks && !says) continue;
      if (!first) first = performance.now();
      const low = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 40;
      if (thinks) { thought = thought || reasoning(turn); thought.text.appendData(thinks); }
      if (says) { if (thought && !piece.data) thought.fold.open = false; piece.appendData(says); }
      if (low) $("log").scrollTop = $("log").scrollHeight;
    }
  } catch (error) {
    if (error.name === "AbortError") why = "stopped";
    else { why = ""; turn.classList.add("error"); note(turn, error.message); }
  }
  const seconds = (performance.now() - begun) / 1000;
  if (why === "stopped") note(turn, "stopped after " + seconds.toFixed(1) + " s");
  else if (why) note(turn, tokens + " tokens, first after " + ((first - begun) / 1000).toFixed(2) + " s, " + seconds.toFixed(1) + " s in all" + (why === "length" ? ", cut at the limit" : ""));
  // A question without an answer is not sent again with the next one.
  if (piece.data) mine.push({ role: "assistant", content: piece.data }); else mine.pop();
  running = null;
  busy(false);
  $("text").focus();
  $("log").scrollTop = $("log").scrollHeight;
}

function stop() {
  if (running) running.abort();
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || running) return;
  $("text").value = "";
  turns.push({ role: "user", content: text });
  show("user", text);
  answer();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("ask").requestSubmit(); }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
$("stop").addEventListener("click", stop);
$("clear").addEventListener("click", () => {
  stop();
  turns = [];
  for (const turn of $("log").querySelectorAll(".turn, .reasoning")) turn.remove();
  $("empty").hidden = false;
  $("text").focus();
});
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value.trim()); });
