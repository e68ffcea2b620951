"""Between the types of this package and the messages of the wire."""
from __future__ import annotations

import json
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from .types import (Chat, Choice, Delta, Finish, FinishReason, Form, Health, Loads, Message, ModelInfo, PositionLogprobs, Prompt,
                    PromptInfo, Reply, Sampling, ServerInfo, TokenLogprob, Tokens)
from .v1 import inference_pb2 as pb

_REASONS = {pb.Finish.STOP: FinishReason.STOP, pb.Finish.LENGTH: FinishReason.LENGTH}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _chat_message(message: Union[Message, Mapping[str, str]]) -> pb.ChatMessage:
    fields = vars(message) if isinstance(message, Message) else message
    return pb.ChatMessage(**_given(**fields))


def _chat(chat: Chat) -> pb.Chat:
    return pb.Chat(messages=[_chat_message(message) for message in chat.messages],
                   tools_json=json.dumps(list(chat.tools)) if chat.tools else "",
                   chat_template_kwargs_json=json.dumps(dict(chat.template_kwargs)) if chat.template_kwargs else "",
                   **_given(add_generation_prompt=chat.add_generation_prompt, continue_final_message=chat.continue_final_message))


def _prompt(prompt: Prompt) -> Mapping[str, Any]:
    """The member of the oneof `prompt`."""
    if isinstance(prompt, str):
        return {"text": prompt}
    if isinstance(prompt, Chat):
        return {"chat": _chat(prompt)}
    first = prompt[0] if len(prompt) > 0 else 0
    if isinstance(first, (Message, Mapping)):
        return {"chat": _chat(Chat(messages=prompt))}  # type: ignore[arg-type]
    return {"token_ids": pb.TokenIds(ids=prompt)}  # type: ignore[arg-type]


def _sampling(sampling: Sampling) -> pb.SamplingParams:
    return pb.SamplingParams(**_given(**vars(sampling)))


def _form(form: Form) -> pb.OutputForm:
    value: Any = pb.Choices(texts=form.value) if form.kind == "choice" else form.value
    return pb.OutputForm(**{form.kind: value})


def generate_request(prompt: Prompt, stream: bool, sampling: Optional[Sampling], form: Optional[Form], model: str,
                     request_id: str, priority: int, cache_salt: str,
                     add_special_tokens: Optional[bool]) -> pb.GenerateRequest:
    return pb.GenerateRequest(stream=stream, sampling=_sampling(sampling) if sampling else None,
                              output_form=_form(form) if form else None, model=model, request_id=request_id, priority=priority,
                              cache_salt=cache_salt, **_given(add_special_tokens=add_special_tokens), **_prompt(prompt))


def tokenize_request(prompt: Union[str, Chat, Sequence[Any]], add_special_tokens: Optional[bool]) -> pb.TokenizeRequest:
    fields = _prompt(prompt)
    if "token_ids" in fields:
        raise TypeError("prompt must be text or a chat")
    return pb.TokenizeRequest(**_given(add_special_tokens=add_special_tokens), **fields)


def _finish(message: pb.Finish) -> Finish:
    stopped_by = message.WhichOneof("stopped_by")
    return Finish(_REASONS.get(message.reason, FinishReason.UNSPECIFIED), message.completion_tokens,
                  message.stop_string if stopped_by == "stop_string" else None,
                  message.stop_token if stopped_by == "stop_token" else None)


def _logprobs(messages: Iterable[pb.PositionLogprobs]) -> tuple[PositionLogprobs, ...]:
    def one(message: pb.TokenLogprob) -> TokenLogprob:
        return TokenLogprob(message.token, message.logprob)
    return tuple(PositionLogprobs(one(m.chosen), tuple(map(one, m.top))) for m in messages)


def delta(message: pb.GenerateResponse) -> Delta:
    info = message.prompt_info
    return Delta(index=message.index, text=message.text, token_ids=tuple(message.token_ids),
                 logprobs=_logprobs(message.logprobs), finish=_finish(message.finish) if message.HasField("finish") else None,
                 prompt=PromptInfo(info.prompt_tokens, info.cached_tokens) if message.HasField("prompt_info") else None,
                 request_id=message.request_id)


def reply(deltas: Iterable[Delta]) -> Reply:
    """What all deltas of a call add up to. It has ended well, so each choice has its end."""
    parts: dict[int, list[Delta]] = {}
    for one in deltas:
        parts.setdefault(one.index, []).append(one)
    choices = tuple(Choice(index, "".join(d.text for d in own), tuple(t for d in own for t in d.token_ids),
                           tuple(p for d in own for p in d.logprobs),
                           own[-1].finish or Finish(FinishReason.UNSPECIFIED, 0))
                    for index, own in sorted(parts.items()))
    first = parts[0][0]
    return Reply(choices, first.prompt or PromptInfo(0, 0), first.request_id)


def tokens(message: pb.TokenizeResponse) -> Tokens:
    return Tokens(tuple(message.token_ids), message.max_model_len)


def health(message: pb.HealthCheckResponse) -> Health:
    return Health(message.healthy, message.status)


def model_info(message: pb.GetModelInfoResponse) -> ModelInfo:
    return ModelInfo(message.model, tuple(message.model_names), message.model_path, message.architecture, message.parameters,
                     message.active_parameters, message.vocab_size, message.max_model_len, tuple(message.eos_token_ids),
                     message.has_chat_template)


def server_info(message: pb.GetServerInfoResponse) -> ServerInfo:
    return ServerInfo(message.version, message.status, message.uptime_seconds, dict(message.facts))


def loads(message: pb.GetLoadsResponse) -> Loads:
    return Loads(message.running, message.waiting, message.paused, message.kv_blocks_total, message.kv_blocks_used,
                 message.prompt_tokens_total, message.generation_tokens_total, message.preemptions_total)
