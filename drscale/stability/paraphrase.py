"""Paraphrases of queries: simple rules without a model, or a seq2seq or translation model if one is available.

The rules cover only typical phrases of English documentation and searches: the frame of a sentence changes ("Compute
the mean." - "how to compute the mean"), a clause moves to the front, a fixed phrase is replaced by another one. They
keep every other word, so they change much less than a model that writes a new sentence.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

NOTE = "paraphrase by plain rules (frames, clauses to the front, fixed phrases), not by a model"

# Verbs that sentences of documentation and instructions begin with, in their base form.
VERBS = frozenset(
    """
    accept access add adjust aggregate align allow append apply approximate assert assign attach average base begin bind
    broadcast build cache calculate call cast change check choose clean clear close collect combine compare compile
    complete compute concatenate configure connect construct convert copy count create cut decode decompose decorate
    define delete describe detect determine disable display divide download draw drop dump emit enable encode ensure
    estimate evaluate execute expand export extend extract factor fetch fill filter find fit flatten format generate get
    give group handle hash hold identify implement import indicate infer initialize insert inspect install instantiate
    interpolate invert invoke iterate join keep list load locate log look make map mark match merge modify move multiply
    normalize notify obtain open order override pack pad parse partition perform permute pick plot pop post predict
    prepare print process produce project provide prune pull push put query raise randomize read rebuild receive record
    redirect reduce register release reload remove rename render reorder repeat replace represent request reset reshape
    resolve restore retrieve return reverse rotate round run sample save scale schedule search select send serialize set
    shift show shuffle simplify skip slice solve sort specify split squeeze stack start stop store stream strip submit
    substitute subtract sum swap take tell test tokenize trace track train transform translate transpose traverse
    trigger trim truncate try unpack update upload use validate verify visit wait walk warn wrap write yield
    """.split()  # noqa: SIM905
)
# Those that double their last letter before -ing.
DOUBLED = frozenset(
    """
    begin cut drop emit fit format get infer log map pad plot pop put run set skip split stop strip submit sum swap trim
    wrap
    """.split()  # noqa: SIM905
)
FRONT = ("if", "when", "whenever", "unless", "using", "based on", "given", "before", "after", "during", "according to")
# Phrases of equal meaning, as whole words; the first one in this list that is in a text is replaced.
PHRASES = (
    ("return true if", "check whether"),
    ("returns true if", "checks whether"),
    ("return whether", "check whether"),
    ("returns whether", "checks whether"),
    ("check if", "determine whether"),
    ("check whether", "determine whether"),
    ("determine if", "check whether"),
    ("determine whether", "check if"),
    ("determines whether", "checks if"),
    ("in order to", "to"),
    ("based on", "according to"),
    ("according to", "based on"),
    ("is used to", "serves to"),
    ("a number of", "several"),
    ("as well as", "and also"),
    ("does not", "doesn't"),
    ("do not", "don't"),
    ("is not", "isn't"),
    ("cannot", "can't"),
    ("for example", "for instance"),
    ("such as", "like"),
    ("due to", "because of"),
    ("what is", "what's"),
    ("how do i", "how can i"),
    ("how can i", "how do i"),
    ("how to", "how do i"),
)
QUESTION = re.compile(
    r"(?:who|what|when|where|which|why|how|is|are|was|were|do|does|did|can|could|should|will|would)\b", re.I
)
OPENING = re.compile(r"\s*([A-Za-z]+)\b(?=\s+\S)")


def rules(text: str, rng: random.Random) -> tuple[str, str]:
    """Reword an English sentence by a rule drawn from those that fit it: the text and the rule's name.

    A text that no rule fits is returned unchanged, with an empty name.
    """
    found = [(name, made) for name, made in _ways(text) if made and made != text]
    lot = rng.random()
    if not found:
        return text, ""
    name, made = found[int(lot * len(found))]
    return made, f"rules:{name}"


def _ways(text: str) -> list[tuple[str, str]]:
    """Every rule that fits, with its result for the text."""
    ways = []
    first, body = OPENING.match(text), text.strip().rstrip(".")
    verb = base_form(first[1]) if first else ""
    if verb and first:
        rest = text[first.end(1) :].strip().rstrip(".")
        third = first[1].lower() != verb
        ways += [
            ("how_to", f"how to {verb} {rest}"),
            ("gerund", f"{gerund(verb)} {rest}"),
            ("person", f"{verb} {rest}" if third else f"{third_person(verb)} {rest}"),
            ("function", f"function that {third_person(verb)} {rest}"),
        ]
    elif first and _names_a_thing(body):
        ways.append(("looking_for", f"looking for {_lowered(body)}"))
    ways.append(("clause", _fronted(text)))
    ways.append(("phrase", _rephrased(text)))
    return ways


def _names_a_thing(text: str) -> bool:
    """Whether a text is certainly not a sentence: short, with no known verb in front and no auxiliary anywhere."""
    words = text.split()
    verbal = re.match(r"(?:\w+(?:ize|ise|ify|ing|[^s]s)|if|when|given|using|return\w*|see|note)\b", text, re.I)
    finite = re.search(
        r"\b(?:is|are|was|were|be|can|may|will|must|should|does|do|has|have|if|when|allows?)\b", text, re.I
    )
    return (
        2 <= len(words) <= 12 and not verbal and not finite and not QUESTION.match(text) and words[0][-1] not in ",:;"
    )


def base_form(word: str) -> str:
    """The base of a known verb in the imperative or in the third person, else the empty string."""
    low = word.lower()
    guesses = [low, low.removesuffix("s"), low.removesuffix("es")]
    guesses += [f"{low[:-3]}y"] if low.endswith("ies") else []
    return next((g for g in guesses if g in VERBS), "")


def gerund(verb: str) -> str:
    """The -ing form of one of the known verbs."""
    if verb in DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb[:-1]}ing" if verb.endswith("e") and not verb.endswith("ee") else f"{verb}ing"


def third_person(verb: str) -> str:
    """The third person of one of the known verbs."""
    if re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ies"
    return f"{verb}es" if re.search(r"(?:s|x|z|ch|sh)$", verb) else f"{verb}s"


def _lowered(text: str) -> str:
    """The text with a small letter in front, where its first word is an ordinary one."""
    word = re.match(r"(?:A|[A-Z][a-z]+)\b(?!\.\w)", text)
    return text[0].lower() + text[1:] if word else text


def _fronted(text: str) -> str:
    """Move the last clause of a sentence to its front: "Sort rows using a key." becomes "Using a key, sort rows."."""
    body = text.strip()
    end = body[-1:] if body[-1:] in ".?!" else ""
    body = body.removesuffix(end) if end else body
    if "." in body or "," in body or ":" in body or QUESTION.match(body):
        return ""
    found = list(re.finditer(rf"\s({'|'.join(FRONT)})\s+(?=\S)", body))
    if len(found) != 1 or len(body[: found[0].start()].split()) < 2:
        return ""  # with several clauses it is unclear which belongs to which
    head, tail = body[: found[0].start()], body[found[0].start() + 1 :]
    return f"{tail[0].upper()}{tail[1:]}, {_lowered(head)}{end}"


def _rephrased(text: str) -> str:
    for old, new in PHRASES:
        found = re.search(rf"\b{old}\b", text, re.I)
        if found:
            made = new.capitalize() if found[0][0].isupper() else new
            return text[: found.start()] + made + text[found.end() :]
    return ""


# ------------------------------------------------------------------------------------------------------ seq2seq models


def hub(name: str, prefix: str = "paraphrase: ", tokens: int = 64) -> Callable[[list[str], int], list[str]]:
    """A seq2seq model of the hub, or of a folder, as a function (texts, seed) -> paraphrases.

    Made for models like T5 that were trained to paraphrase, such as ``ramsrigouthamg/t5_paraphraser``; ``prefix`` is
    the words such a model expects in front. It samples (top 120, nucleus 0.95): the output depends only on the seed and
    the text, so texts are generated one by one.
    """
    if not name:
        raise ValueError("method='hub:': a model's name is missing")
    tokenizer, model = _seq2seq(name)

    def write(texts: list[str], seed: int) -> list[str]:
        import torch

        from drscale.encoder import seed_for

        found = []
        with torch.inference_mode(), torch.random.fork_rng():
            for text in texts:
                torch.manual_seed(seed_for(seed, text))
                ids = tokenizer(prefix + text, return_tensors="pt", truncation=True, max_length=512)
                asked = {k: v.to(model.device) for k, v in ids.items() if k in ("input_ids", "attention_mask")}
                out = model.generate(**asked, do_sample=True, top_k=120, top_p=0.95, max_new_tokens=tokens)
                found.append(str(tokenizer.decode(out[0], skip_special_tokens=True)))
        return found

    return write


def back(name: str, pivot: str = "de", tokens: int = 64) -> Callable[[list[str], int], list[str]]:
    """Translation into another language and back, as a function (texts, seed) -> paraphrases.

    Made for many-to-many models like M2M100, such as ``facebook/m2m100_418M``; ``pivot`` is a language as the model's
    tokenizer spells it. Five beams, so the seed changes nothing.
    """
    if not name:
        raise ValueError("method='back:': a model's name is missing")
    tokenizer, model = _seq2seq(name)
    if not hasattr(tokenizer, "get_lang_id"):
        raise ValueError(f"method='back:{name}': its tokenizer names no languages; a model like M2M100 is needed")
    for language in ("en", pivot):
        try:
            tokenizer.get_lang_id(language)
        except KeyError:
            raise ValueError(f"method='back:{name}': its tokenizer has no language {language!r}") from None

    def write(texts: list[str], seed: int) -> list[str]:
        abroad = [_translated(tokenizer, model, text, "en", pivot, tokens) for text in texts]
        return [_translated(tokenizer, model, text, pivot, "en", tokens) for text in abroad]

    return write


def _translated(tokenizer: Any, model: Any, text: str, source: str, target: str, tokens: int) -> str:
    import torch

    tokenizer.src_lang = source
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
    asked = {k: v.to(model.device) for k, v in ids.items() if k in ("input_ids", "attention_mask")}
    first = tokenizer.get_lang_id(target)
    with torch.inference_mode():
        out = model.generate(**asked, forced_bos_token_id=first, num_beams=5, max_new_tokens=tokens)
    return str(tokenizer.decode(out[0], skip_special_tokens=True))


@lru_cache(maxsize=1)
def _seq2seq(name: str) -> tuple[Any, Any]:
    """A tokenizer and a model, from safetensors, or where ``$DRSCALE_WEIGHTS`` is ``torch`` from its .bin."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from drscale.encoder import WEIGHTS, why_not_loaded

    only = None if os.environ.get(WEIGHTS) == "torch" else True
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            name, trust_remote_code=False, use_safetensors=only, weights_only=True
        )
    except (ImportError, OSError, ValueError) as e:
        said = why_not_loaded(e)
        if only and "safetensors" in said:
            said = f"it has no file of safetensors; {WEIGHTS}=torch reads a pytorch_model.bin with weights_only=True"
        raise ValueError(f"method: no seq2seq model can be had at {name!r}: {said}; 'rules' needs none") from e
    return tokenizer, model.eval()
