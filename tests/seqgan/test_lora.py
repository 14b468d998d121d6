import pytest
import torch
from torch import nn

from rl.estimators import kl_to
from seqgan import kv_sweep
from seqgan.causal_lm import CausalLM
from seqgan.likelihood import action_log_probs, counted, mle_loss
from seqgan.lora import with_lora, without_adapter
from tests.seqgan.tiny_lms import tiny_lm

TOKENS = torch.tensor([[0, 3, 1, 2, 2, 0], [4, 3, 1, 1, 0, 0]])


@pytest.fixture(params=["gpt2", "llama"])
def policy(request: pytest.FixtureRequest) -> CausalLM:
    return CausalLM(tiny_lm(request.param), end=0, pad=0, prompt=2, start=0)


def moved(policy: CausalLM) -> CausalLM:
    """Let the adapters do something."""
    torch.manual_seed(1)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return policy


def test_only_adapters_learn_and_at_first_nothing_has_changed(policy: CausalLM) -> None:
    before = policy.features(TOKENS).detach()
    weights = {name: weight.detach().clone() for name, weight in policy.model.named_parameters()}
    adapted = with_lora(policy, rank=2)
    assert adapted.features(TOKENS).equal(before)
    assert not adapted.training
    assert (adapted.start, adapted.end, adapted.pad, adapted.prompt) == (0, 0, 0, 2)
    learning = [weight for weight in adapted.parameters() if weight.requires_grad]
    assert {name.split(".")[-3] for name, weight in adapted.named_parameters() if weight.requires_grad} == {
        "lora_A",
        "lora_B",
    }
    torch.optim.SGD(learning, 0.5).zero_grad()
    moved(adapted)
    mle_loss(adapted, TOKENS).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in learning)
    torch.optim.SGD(learning, 0.5).step()
    assert not adapted.features(TOKENS).allclose(before)
    with without_adapter(adapted):
        assert adapted.features(TOKENS).equal(before)
        again = {
            name.replace("base_model.model.", "").replace("base_layer.", ""): weight
            for name, weight in adapted.model.named_parameters()
            if "lora" not in name
        }
    assert again.keys() == weights.keys()
    assert all(weight.equal(weights[name]) for name, weight in again.items())


def test_the_model_without_its_adapter_is_the_reference(policy: CausalLM) -> None:
    start, mask = action_log_probs(policy, TOKENS).detach(), counted(TOKENS, 0, 2)
    adapted = with_lora(policy, rank=2)
    assert kl_to(action_log_probs(adapted, TOKENS), start, mask).item() == pytest.approx(0, abs=1e-6)
    moved(adapted)
    with torch.no_grad(), without_adapter(adapted):
        reference = action_log_probs(adapted, TOKENS)
    torch.testing.assert_close(reference, start)
    assert kl_to(action_log_probs(adapted, TOKENS), reference, mask).item() > 1e-3


def test_the_scale_is_the_scale(policy: CausalLM) -> None:
    plain = next(layer for name, layer in policy.model.named_modules() if name.endswith(("c_attn", "q_proj")))
    x = torch.randn(3, 16)
    before = plain(x)
    adapted = moved(with_lora(policy, rank=3, scale=0.25))
    layer = next(layer for name, layer in adapted.model.named_modules() if name.endswith(("c_attn", "q_proj")))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape[0] == 3
    torch.testing.assert_close(layer(x), before + 0.25 * x @ a.t() @ b.t())


def test_named_layers_alone(policy: CausalLM) -> None:
    name = "c_attn" if policy.model.config.model_type == "gpt2" else "v_proj"
    adapted = with_lora(policy, rank=2, layers=[name])
    assert all(name in place for place, weight in adapted.named_parameters() if weight.requires_grad)


def test_adapted_models_share_prefixes_too(policy: CausalLM) -> None:
    adapted = moved(with_lora(policy, rank=2))
    assert kv_sweep.complete(adapted, TOKENS, 3).shape == (5, 2, 3, 6)
