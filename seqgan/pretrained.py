"""Our generators as transformers' models: `AutoModelForCausalLM`, safetensors, `generate`, other people's trainers.

`register()` once, then `AutoModelForCausalLM.from_pretrained(folder)` knows them. A model reads the start token as any
other: prompts begin with `bos_token_id`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from seqgan.generators import Generator, LSTMGenerator, State, TransformerGenerator
from seqgan.padded import Embedded, run_lstm, run_transformer


class GeneratorConfig(PreTrainedConfig):
    """The sizes of a generator. `embedding_size` is the LSTM's alone, heads and positions are the transformer's."""

    model_type = "sparring"
    auto_map: ClassVar[Mapping[str, str]] = MappingProxyType({})  # trainers that load the class a second time look here

    kind: str = "lstm"
    vocab_size: int = 2
    embedding_size: int = 32
    hidden_size: int = 32
    num_hidden_layers: int = 1
    num_attention_heads: int = 4
    max_position_embeddings: int = 512
    dropout: float = 0.0
    start: int = 0
    end: int = -1
    prompt: int = 0
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    use_cache: bool = True

    @classmethod
    def of(cls, generator: Generator) -> "GeneratorConfig":
        """Return the sizes of a generator; its start begins a text, its end ends and fills up."""
        ends = generator.end if generator.end >= 0 else None
        config = cls(
            vocab_size=generator.head.out_features,
            dropout=generator.dropout.p,
            start=generator.start,
            end=generator.end,
            prompt=generator.prompt,
            bos_token_id=generator.start,
            eos_token_id=ends,
            pad_token_id=ends,
        )
        if isinstance(generator, LSTMGenerator):
            net = generator.lstm
            config.embedding_size, config.hidden_size, config.num_hidden_layers = (
                net.input_size,
                net.hidden_size,
                net.num_layers,
            )
            return config
        config.kind, config.hidden_size = "transformer", generator.width
        config.num_hidden_layers, config.num_attention_heads = len(generator.blocks), generator.heads
        config.max_position_embeddings = generator.positions.num_embeddings
        return config

    def build(self) -> Generator:
        """Return a fresh generator of these sizes."""
        said = {"dropout": self.dropout, "start": self.start, "end": self.end, "prompt": self.prompt}
        layers, hidden = self.num_hidden_layers, self.hidden_size
        if self.kind == "lstm":
            return LSTMGenerator(self.vocab_size, embedding=self.embedding_size, hidden=hidden, layers=layers, **said)
        heads, length = self.num_attention_heads, self.max_position_embeddings
        return TransformerGenerator(self.vocab_size, length=length, width=hidden, layers=layers, heads=heads, **said)


class StateCache(Cache):
    """A generator's state where transformers expects keys and values: rows come first in every tensor of it."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.state: State = ()
        self.length = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens were read."""
        return self.length

    def reorder_cache(self, beam_idx: Int[Tensor, "rows"]) -> None:
        """Let every row go on from another one's state."""
        self.state = tuple(part.index_select(0, beam_idx.to(part.device)) for part in self.state)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        self.state = tuple(part[indices] for part in self.state)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        self.state = tuple(part.repeat_interleave(repeats, 0) for part in self.state)


class GeneratorPreTrained(PreTrainedModel):
    """What both models share."""

    config_class = GeneratorConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _is_stateful = True  # what was read cannot be taken back, so no assisted decoding
    _no_split_modules: ClassVar[list[str]] = ["Block", "LSTM"]

    def _init_weights(self, module: nn.Module) -> None:
        """Keep what the generator drew for itself."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False


class GeneratorModel(GeneratorPreTrained):
    """A generator without its head: ids in, features out. Left padding, by the attention mask, changes nothing."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.generator = config.build()
        self.gradient_checkpointing = False  # rows are short: there is nothing to save
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the words' embeddings."""
        return self.generator.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Take other embeddings."""
        self.generator.embedding = value

    def forward(
        self,
        input_ids: Int[Tensor, "rows time"] | None = None,
        attention_mask: Int[Tensor, "rows read"] | None = None,
        past_key_values: StateCache | None = None,
        inputs_embeds: Embedded | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Read ids or embeddings after what the cache has read; the mask covers both."""
        embedded = self.generator.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        cache = StateCache() if past_key_values is None else past_key_values
        if not isinstance(cache, StateCache):
            raise ValueError(f"a generator keeps its state in a StateCache, not in a {type(cache).__name__}")
        read = cache.length + embedded.shape[1]
        whole = embedded.new_ones(len(embedded), read, dtype=torch.bool)
        words = whole if attention_mask is None else attention_mask[:, -read:].bool()
        state = cache.state or self.generator.init(len(embedded))
        run = run_lstm if isinstance(self.generator, LSTMGenerator) else run_transformer
        features, after = run(self.generator, state, embedded, words)
        if use_cache:
            cache.state, cache.length = after, read
        return BaseModelOutputWithPast(last_hidden_state=features, past_key_values=cache if use_cache else None)


class GeneratorForCausalLM(GeneratorPreTrained, GenerationMixin):
    """A generator with its head."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.model = GeneratorModel(config)
        self.post_init()

    @property
    def generator(self) -> Generator:
        """The SequencePolicy inside."""
        return self.model.generator

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head."""
        return self.generator.head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Take another head."""
        self.generator.head = new_embeddings

    def forward(
        self,
        input_ids: Int[Tensor, "rows time"] | None = None,
        attention_mask: Int[Tensor, "rows read"] | None = None,
        past_key_values: StateCache | None = None,
        inputs_embeds: Embedded | None = None,
        labels: Int[Tensor, "rows time"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return the logits of the next tokens, of the last `logits_to_keep` places (0: of all), and a loss."""
        read = self.model(input_ids, attention_mask, past_key_values, inputs_embeds, use_cache)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.generator.head(read.last_hidden_state[:, kept])
        loss = None if labels is None else self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=read.past_key_values)


def pretrained(generator: Generator) -> GeneratorForCausalLM:
    """Return a copy of a generator as transformers' model; `save_pretrained` writes it."""
    model = GeneratorForCausalLM(GeneratorConfig.of(generator))
    model.generator.load_state_dict(generator.state_dict())
    return model.to(generator.head.weight.device).train(generator.training)


def register() -> None:
    """Teach AutoConfig, AutoModel and AutoModelForCausalLM the name `sparring`."""
    AutoConfig.register(GeneratorConfig.model_type, GeneratorConfig, exist_ok=True)
    AutoModel.register(GeneratorConfig, GeneratorModel, exist_ok=True)
    AutoModelForCausalLM.register(GeneratorConfig, GeneratorForCausalLM, exist_ok=True)
