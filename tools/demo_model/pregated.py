"""The exported pre-gated twin behind the few calls that evaluate.py makes of a transformers model; its network is model.py."""
import json
import types

import torch

import export
import model as network


class PreGated:
    """ids [1, tokens] -> .logits [1, tokens, vocab]; generate() recomputes the whole text at each token."""

    def __init__(self, folder):
        fields = json.loads((folder / "config.json").read_text())
        self.config = types.SimpleNamespace(**fields)
        self.network = network.Model(network.Config(
            vocab=fields["vocab_size"], hidden=fields["hidden_size"], layers=fields["num_hidden_layers"],
            heads=fields["num_attention_heads"], kv_heads=fields["num_key_value_heads"], head_dim=fields["head_dim"],
            inter=fields["moe_intermediate_size"], experts=fields["num_experts"], top_k=fields["num_experts_per_tok"],
            max_positions=fields["max_position_embeddings"], rope_theta=fields["rope_theta"], eps=fields["rms_norm_eps"],
            pregated=fields["model_type"] == export.PREGATED[1]))
        export.load_exported(self.network, folder)
        self.network.eval()

    def __call__(self, ids):
        return types.SimpleNamespace(logits=self.network(ids))

    def generate(self, ids, max_new_tokens, do_sample, eos_token_id, **_):
        """As transformers: temperature 0.7, top-p 0.9 when sampled."""
        for _ in range(max_new_tokens):
            logits = self(ids).logits[:, -1]
            if do_sample:
                probs, order = (logits / 0.7).softmax(-1).sort(descending=True)
                probs[probs.cumsum(-1) - probs > 0.9] = 0.0
                chosen = order.gather(-1, torch.multinomial(probs, 1))
            else:
                chosen = logits.argmax(-1, keepdim=True)
            ids = torch.cat([ids, chosen], dim=1)
            if chosen.item() in eos_token_id:
                break
        return ids


def is_pregated(folder):
    """Whether an exported directory is one."""
    return json.loads((folder / "config.json").read_text())["model_type"] == export.PREGATED[1]
