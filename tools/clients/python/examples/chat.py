"""One chat, streamed.  usage: python chat.py [TARGET] [TEXT]"""
import sys

from foregate import Client, Message, Sampling

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
text = sys.argv[2] if len(sys.argv) > 2 else "Tell me a story about a fox."

with Client(target, timeout=60) as client:
    with client.stream([Message("user", text)], sampling=Sampling(max_tokens=64, temperature=0)) as stream:
        for delta in stream:
            print(delta.text, end="", flush=True)
            if delta.finish:
                print(f"\n[{delta.finish.reason.value}, {delta.finish.completion_tokens} tokens]")
