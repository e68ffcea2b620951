"""Many prompts at once, each answer held to a form, on one event loop.  usage: python many.py [TARGET]"""
import asyncio
import sys

from foregate import AsyncClient, ForegateError, Form, Sampling

ANIMALS = ["fox", "owl", "bear", "mouse"]


async def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    async with AsyncClient(target, timeout=60) as client:
        def ask(animal: str):
            return client.generate(f"Does the {animal} fly? ", sampling=Sampling(max_tokens=8), form=Form.choice(["yes", "no"]))
        for animal, answer in zip(ANIMALS, await asyncio.gather(*map(ask, ANIMALS), return_exceptions=True)):
            if isinstance(answer, ForegateError):
                print(f"{animal}: failed, {answer}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                print(f"{animal}: {answer.text}")


asyncio.run(main())
