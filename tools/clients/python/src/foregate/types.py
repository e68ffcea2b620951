"""What is asked and what comes back. Names, meanings, bounds and defaults are those of foregate/v1/inference.proto, and so of
the HTTP API; what is None takes the model's default."""
from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Union


@dataclass(frozen=True)
class Message:
    role: str  # system, developer, user, assistant, tool
    content: str
    name: Optional[str] = None
    tool_call_id: Optional[str] = None


@dataclass(frozen=True)
class Chat:
    """A conversation for the model's chat template."""
    messages: Sequence[Union[Message, Mapping[str, str]]]
    tools: Sequence[Mapping[str, Any]] = ()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    add_generation_prompt: Optional[bool] = None
    continue_final_message: Optional[bool] = None


# Text, token ids, a chat, or the messages of one.
Prompt = Union[str, Sequence[int], Chat, Sequence[Union[Message, Mapping[str, str]]]]


@dataclass(frozen=True)
class Sampling:
    temperature: Optional[float] = None
    top_k: Optional[int] = None
    top_p: Optional[float] = None
    min_p: Optional[float] = None
    repetition_penalty: Optional[float] = None
    presence_penalty: Optional[float] = None
    frequency_penalty: Optional[float] = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop_token_ids: Sequence[int] = ()
    stop: Sequence[str] = ()
    include_stop_str_in_output: Optional[bool] = None
    ignore_eos: Optional[bool] = None
    skip_special_tokens: Optional[bool] = None
    min_tokens: Optional[int] = None
    max_tokens: Optional[int] = None
    seed: Optional[int] = None
    n: Optional[int] = None
    logprobs: Optional[int] = None  # alternatives for each token; 0: only the chosen one
    allowed_token_ids: Sequence[int] = ()  # no others come; empty: all may
    bad_words: Sequence[str] = ()  # never completed in the output
    truncate_prompt_tokens: Optional[int] = None  # only so many last tokens of the prompt; -1: as fit
    thinking_token_budget: Optional[int] = None  # of chats: tokens of thinking before the answer must follow


@dataclass(frozen=True)
class Form:
    """What the output must look like. Made by one of the functions below."""
    kind: str
    value: Any

    @classmethod
    def json_schema(cls, schema: Union[str, Mapping[str, Any]]) -> Form:
        return cls("json_schema", schema if isinstance(schema, str) else json.dumps(schema))

    @classmethod
    def json_object(cls) -> Form:
        return cls("json_object", True)

    @classmethod
    def regex(cls, pattern: str) -> Form:
        return cls("regex", pattern)

    @classmethod
    def choice(cls, texts: Sequence[str]) -> Form:
        return cls("choice", tuple(texts))

    @classmethod
    def grammar(cls, gbnf: str) -> Form:
        return cls("grammar", gbnf)


class FinishReason(enum.Enum):
    STOP = "stop"
    LENGTH = "length"
    UNSPECIFIED = "unspecified"


@dataclass(frozen=True)
class Finish:
    reason: FinishReason
    completion_tokens: int
    stop_string: Optional[str] = None  # which of the request's ended it; both None: the model's own end, or the length
    stop_token: Optional[int] = None


@dataclass(frozen=True)
class TokenLogprob:
    token: int
    logprob: float


@dataclass(frozen=True)
class PositionLogprobs:
    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class PromptInfo:
    prompt_tokens: int
    cached_tokens: int  # found in the prefix cache


@dataclass(frozen=True)
class Delta:
    """What one message of a stream adds to one choice."""
    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()
    finish: Optional[Finish] = None        # on the last one of a choice
    prompt: Optional[PromptInfo] = None    # on the first one of a choice
    request_id: str = ""


@dataclass(frozen=True)
class Choice:
    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...]
    finish: Finish


@dataclass(frozen=True)
class Reply:
    """A whole answer. `text` is that of the first choice."""
    choices: tuple[Choice, ...]
    prompt: PromptInfo
    request_id: str = ""

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.choices[0].token_ids

    @property
    def finish(self) -> Finish:
        return self.choices[0].finish


@dataclass(frozen=True)
class Tokens:
    ids: tuple[int, ...]
    max_model_len: int


@dataclass(frozen=True)
class Health:
    healthy: bool  # takes new work
    status: str    # ok, loading, draining, stalled or failed


@dataclass(frozen=True)
class ModelInfo:
    model: str
    model_names: tuple[str, ...]
    model_path: str
    architecture: str
    parameters: int
    active_parameters: int
    vocab_size: int
    max_model_len: int
    eos_token_ids: tuple[int, ...]
    has_chat_template: bool


@dataclass(frozen=True)
class ServerInfo:
    version: str
    status: str
    uptime_seconds: float
    facts: Mapping[str, str]  # what /version shows


@dataclass(frozen=True)
class Loads:
    running: int
    waiting: int
    paused: int
    kv_blocks_total: int
    kv_blocks_used: int
    prompt_tokens_total: int
    generation_tokens_total: int
    preemptions_total: int
