"""``drscale completion``: a script for bash, zsh or fish, made from the parsers. Loads nothing but argparse."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from drscale.commands.arguments import SHELLS, described


def script(shell: str, verbs: Mapping[str, argparse.ArgumentParser]) -> str:
    """The completion script of a shell, for these verbs and their options; file names complete where none fits.

    >>> import argparse
    >>> from drscale.commands.completion import script
    >>> verb = argparse.ArgumentParser("fit", description="Fit a law.")
    >>> print(script("fish", {"fit": verb}).splitlines()[1])
    complete -c drscale -f -n __fish_use_subcommand -a fit -d 'Fit a law'
    """
    if shell not in SHELLS:
        raise ValueError(f"shell={shell!r}: allowed are {', '.join(map(repr, SHELLS))}")
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](verbs)


def _said(parser: argparse.ArgumentParser) -> str:
    return _quoted(str(parser.description or "").rstrip("."))


def _quoted(text: str) -> str:
    """A text for single quotes of any shell."""
    return " ".join(text.replace("'", "").replace("%%", "%").split())


def _positional(parser: argparse.ArgumentParser) -> list[str]:
    """The words that a verb's own argument may be, if they are listed."""
    return [str(c) for a in parser._actions if not a.option_strings for c in (a.choices or ())]


def _cases(parser: argparse.ArgumentParser) -> list[tuple[str, list[str]]]:
    """Each option that takes one of some words, with the words."""
    return [(name, choices) for name, _, choices, _ in described(parser) if choices]


def _bash(verbs: Mapping[str, argparse.ArgumentParser]) -> str:
    lines = [
        '# drscale completion bash: eval "$(drscale completion bash)"',
        "_drscale() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        "  if (( COMP_CWORD == 1 )); then",
        f'    words="{" ".join(verbs)} --help --version"',
        "  else",
        '    case "${COMP_WORDS[1]}" in',
    ]
    for name, parser in verbs.items():
        lines += [f"      {name})", '        case "$before" in']
        lines += [f'          {option}) words="{" ".join(choices)}" ;;' for option, choices in _cases(parser)]
        taking = [option for option, _, choices, value in described(parser) if value and not choices]
        lines += [f"          {'|'.join(taking)}) ;;"] if taking else []
        options = " ".join(option for option, *_ in described(parser))
        own = " ".join(_positional(parser))
        lines += [
            f'          *) if [[ "$word" == -* ]]; then words="{options}"; else words="{own}"; fi ;;',
            "        esac ;;",
        ]
    lines += [
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _drscale drscale",
    ]
    return "\n".join(lines) + "\n"


def _zsh(verbs: Mapping[str, argparse.ArgumentParser]) -> str:
    lines = [
        "#compdef drscale",
        '# drscale completion zsh: eval "$(drscale completion zsh)", after compinit',
        "_drscale() {",
        "  local -a verbs options",
        "  if (( CURRENT == 2 )); then",
        "    verbs=(",
        *(f"      '{name}:{_colon(_said(parser))}'" for name, parser in verbs.items()),
        "    )",
        "    _describe command verbs",
        "    return",
        "  fi",
        '  case "${words[2]}" in',
    ]
    for name, parser in verbs.items():
        lines += [f"    {name})", '      case "${words[CURRENT-1]}" in']
        lines += [f"        {option}) compadd -- {' '.join(choices)}; return ;;" for option, choices in _cases(parser)]
        told = " ".join(f"'{option}:{_colon(_quoted(words))}'" for option, words, *_ in described(parser))
        lines += ["      esac", f"      options=({told})"]
        if own := _positional(parser):
            lines.append(f"      compadd -- {' '.join(own)}")
        lines.append("      ;;")
    lines += [
        "  esac",
        '  if [[ "${words[CURRENT]}" == -* ]]; then _describe option options; else _files; fi',
        "}",
        "compdef _drscale drscale",
    ]
    return "\n".join(lines) + "\n"


def _colon(text: str) -> str:
    return text.replace(":", r"\:")


def _fish(verbs: Mapping[str, argparse.ArgumentParser]) -> str:
    lines = ["# drscale completion fish: drscale completion fish | source"]
    for name, parser in verbs.items():
        lines.append(f"complete -c drscale -f -n __fish_use_subcommand -a {name} -d '{_said(parser)}'")
    for name, parser in verbs.items():
        seen = f"complete -c drscale -n '__fish_seen_subcommand_from {name}'"
        if own := _positional(parser):
            lines.append(f"{seen} -f -a '{' '.join(own)}'")
        for option, words, choices, value in described(parser):
            takes = f" -x -a '{' '.join(choices)}'" if choices else " -r" if value else ""
            lines.append(f"{seen} -l {option[2:]}{takes} -d '{_quoted(words)}'")
    return "\n".join(lines) + "\n"
