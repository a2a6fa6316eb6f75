"""The documentation of cloud services: read from the clients' files, the newest version of each, split by service."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drscale.texts import Benchmark, Source, TextsWarning, apis, benchmark, docs, related

REST = "It takes effect at once, and every later call sees it until somebody else puts another one in its place."
NEVER = 'raise RuntimeError("imported")\n'
CLIENTS = ("botocore", "googleapiclient")


def texts(n: int, seed: int) -> Iterator[tuple[str, str]]:
    """Sentences of made-up words, no two alike: a query and a passage."""
    words = np.random.default_rng(seed).integers(0, 5000, (n, 26))
    for row in words.tolist():
        said = [f"w{word}" for word in row]
        yield f"Sets the {' '.join(said[:6])}.", f"The {' '.join(said[6:])}."


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def aws(site: Path, service: str, version: str, model: dict[str, object], zipped: bool = True) -> None:
    text = json.dumps(model).encode()
    file = site / "botocore" / "data" / service / version / ("service-2.json.gz" if zipped else "service-2.json")
    write(file, gzip.compress(text) if zipped else text)


def google(site: Path, file: str, document: dict[str, object]) -> None:
    write(site / "googleapiclient" / "discovery_cache" / "documents" / file, json.dumps(document))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fake clients are installed, found before the true ones."""
    folder = tmp_path / "site"
    for client in CLIENTS:
        write(folder / client / "__init__.py", NEVER)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    return folder


def test_a_service_of_botocore_is_read(site: Path) -> None:
    aws(site, "rds", "2014-09-01", {"documentation": f"<p>The old version of it.</p><p>{REST}</p>"})
    model = {
        "documentation": f"<fullname>Some Service</fullname> <p>It is a service &amp; more.</p> <p>{REST}</p>",
        "operations": {
            "AddRole": {
                "documentation": f"<p>Adds a role, e.g. <code>Reader</code>, to it. {REST}</p><note>Mind it.</note>"
            },
            "Plain": {"name": "Plain"},
        },
        "shapes": {
            "Cluster": {
                "documentation": f"<p>Describes a whole cluster:</p> <ul> <li> <p>{REST}</p> </li> </ul>",
                "members": {
                    "Name": {"documentation": f"<p>The name\n of the\n cluster. {REST} <a href='x'>See it</a></p>"},
                    "Arn": {"documentation": "<p>The ARN of the cluster. Too short.</p>"},
                },
            }
        },
    }
    aws(site, "rds", "2014-10-31", model)
    aws(site, "ses", "2010-12-01", {"shapes": {"Mail": {"documentation": f"Is a mail here. {REST}"}}}, zipped=False)
    write(site / "botocore" / "data" / "endpoints.json", "{}")
    write(site / "botocore" / "data" / "empty" / "2020-01-01" / "paginators-1.json", "{}")
    found = {name: pair for name, *pair in apis.botocore_triples(site / "botocore")}
    assert found == {
        "botocore.rds.AddRole": ["Adds a role, e.g. Reader, to it.", f"{REST} Mind it."],
        "botocore.rds.Cluster": ["Describes a whole cluster:", REST],
        "botocore.rds.Cluster.Name": ["The name of the cluster.", f"{REST} See it"],
        "botocore.ses.Mail": ["Is a mail here.", REST],
    }
    assert not {"botocore"} & sys.modules.keys() or not str(sys.modules["botocore"].__file__).startswith(str(site))


def test_a_discovery_document_is_read(site: Path) -> None:
    google(site, "drive.v2.json", {"description": f"The old version of it. {REST}"})
    page = {"description": f"The largest number of files\nthat one page has.\n{REST}", "type": "integer"}
    kind = {"description": f"What kind of file it is. {REST.replace('call', 'request')}"}
    document = {
        "auth": {"oauth2": {"scopes": {"a": {"description": f"No text of the API itself. {REST}"}}}},
        "description": f"Lets you keep `files` in a [place](https://x.y). {REST}",
        "resources": {
            "files": {
                "methods": {"list": {"description": "Lists files.", "parameters": {"pageSize": page}}},
                "resources": {"comments": {"methods": {"get": {"description": f"Gets one of the comments. {REST}"}}}},
            }
        },
        "schemas": {
            "File": {
                "properties": {"description": kind, "tags": {"items": {"description": f"A tag of the file. {REST}"}}}
            }
        },
    }
    google(site, "drive.v3.json", document)
    google(site, "drive.v3beta1.json", {"description": f"A beta version of it. {REST}"})
    google(site, "admin.directory_v1.json", {"description": f"The directory of your people. {REST}"})
    google(site, "admin.reports_v1.json", {"description": f"The reports on your people. {REST}"})
    found = {name: pair for name, *pair in apis.google_triples(site / "googleapiclient")}
    assert found == {
        "googleapiclient.admin.directory": ["The directory of your people.", REST],
        "googleapiclient.admin.reports": ["The reports on your people.", REST],
        "googleapiclient.drive": ["Lets you keep files in a place.", REST],
        "googleapiclient.drive.files.list.pageSize": ["The largest number of files that one page has.", REST],
        "googleapiclient.drive.files.comments.get": ["Gets one of the comments.", REST],
        "googleapiclient.drive.File.description": ["What kind of file it is.", REST.replace("call", "request")],
        "googleapiclient.drive.File.tags": ["A tag of the file.", REST],
    }


def test_the_newest_version_is_the_last() -> None:
    versions = "alpha beta preview v0 v1alpha1 v1beta1 v1beta1a v1p7beta1 v1beta2 v1 v1.2 v2alpha v2beta v2 v10 v23"
    ranks = [apis.version_of(version)[1] for version in versions.replace("v1beta1a v1p7beta1 ", "").split()]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    assert [apis.version_of(v)[0] for v in ("directory_v1", "directoryv1", "v1", "beta")] == ["directory"] * 2 + [
        ""
    ] * 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One here. Two here.", "One here."),
        ("It is e.g. One of them. Two.", "It is e.g. One of them."),
        ("In the U.S. East it is so. Two.", "In the U.S. East it is so."),
        ("Version 1.2 of it and example.com are so! Two.", "Version 1.2 of it and example.com are so!"),
        ("A title\nTwo here.", "A title"),
        ('He says "so." (Two.)', 'He says "so."'),
        ("only one", "only one"),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, sentence: str) -> None:
    first, rest = apis.first_sentence(text)
    assert first == sentence
    assert f"{first} {rest}".split() == text.split()


def python(rows: Iterator[tuple[str, str]]) -> str:
    return NEVER + "".join(f'def f{i}():\n    """{q}\n\n    {p}\n    """\n' for i, (q, p) in enumerate(rows))


@pytest.fixture
def small(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages and four services of made-up words, in place of the true list."""
    write(site / "api_inside" / "__init__.py", python(texts(400, 1)))
    write(site / "api_outside" / "__init__.py", python(texts(310, 2)))
    for service, n, seed in (("ec2", 320, 3), ("s3", 900, 4), ("sqs", 300, 5)):
        members = {f"M{i}": {"documentation": f"<p>{q} {p}</p>"} for i, (q, p) in enumerate(texts(n, seed))}
        aws(site, service, "2020-01-01", {"shapes": {"Shape": {"members": members}}})
    for file, n, seed in (("compute.v1.json", 1100, 6), ("drive.v3.json", 400, 7)):
        properties = {f"p{i}": {"description": f"{q} {p}"} for i, (q, p) in enumerate(texts(n, seed))}
        google(site, file, {"schemas": {"Schema": {"properties": properties}}})
    monkeypatch.setattr(apis, "TRAIN", ("api_inside",))
    monkeypatch.setattr(apis, "OUTSIDE", ("api_outside",))
    monkeypatch.setattr(apis, "AWS_OUTSIDE", ("ec2",))
    monkeypatch.setattr(apis, "GOOGLE_OUTSIDE", ("compute",))
    monkeypatch.setattr(docs, "LEAST_DOMAINS", 2)
    return site


def services(b: Benchmark, part: str) -> dict[str, int]:
    ids = [".".join(name.split(".")[:2]) for name in b.parts()[part].queries["id"].to_pylist()]
    return {name: ids.count(name) for name in sorted(set(ids)) if name.startswith(CLIENTS)}


def test_the_benchmark_is_split_by_service_and_kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = benchmark("api-docs", progress=False)
    assert {name: len(c) for name, c in b.parts().items()} == {
        "train": 500, "validation": 500, "test": 1000,
        "ood:api_outside": 310, "ood:aws-ec2": 320, "ood:google-compute": 1000,
    }  # fmt: skip
    assert services(b, "test") == {"botocore.s3": 450, "botocore.sqs": 150, "googleapiclient.drive": 200}
    assert b.versions.keys() == {"api_inside", "api_outside", *CLIENTS}
    assert all(version.startswith("files-") for name, version in b.versions.items() if name.startswith("api_"))
    assert b.train.domain == "api_inside+botocore+googleapiclient"
    for part in (b.test, b.validation, *b.ood.values()):
        assert not related(b.train, part).any()
    monkeypatch.setattr(apis, "compose", None)
    monkeypatch.setattr(apis, "botocore_triples", None)
    assert benchmark("api-docs", progress=False).fingerprint == b.fingerprint


def test_a_training_pair_that_a_domain_outside_has_is_left_out(small: Path) -> None:
    before = benchmark("api-docs", progress=False)
    passage = next(texts(1, 3))[1]  # ec2 has it
    found = {f"M{i}": {"documentation": f"{q} {p}"} for i, (q, p) in enumerate(texts(300, 5))}
    found["Copy"] = {"documentation": f"Another way to put the same. {passage}"}
    aws(small, "sqs", "2020-01-01", {"shapes": {"Shape": {"members": found}}})
    write(small / "botocore" / "changed.py", "")  # its files are its version
    after = benchmark("api-docs", progress=False)
    assert after.fingerprint == before.fingerprint
    assert "botocore.sqs.Shape.Copy" not in "".join(after.train.queries["id"].to_pylist())


def test_an_absent_package_is_one_sentence_with_the_command(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apis, "TRAIN", ("api_inside", "api_absent"))
    monkeypatch.setattr(apis, "DISTRIBUTIONS", {"api_absent": "api-absent", "api_gone": "apis-gone"})
    said = "api-docs: api-absent is not installed; only files are read, so this is enough: "
    with pytest.raises(ValueError, match=f"^{re.escape(said)}pip install --no-deps api-absent$"):
        benchmark("api-docs", progress=False)
    monkeypatch.setattr(apis, "OUTSIDE", ("api_gone",))
    with pytest.raises(ValueError, match=r"api-absent, apis-gone are not installed.* --no-deps api-absent apis-gone$"):
        benchmark("api-docs", progress=False)


def test_a_domain_that_is_too_small_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apis, "AWS_OUTSIDE", ("ec2", "rds"))
    with pytest.warns(TextsWarning, match="benchmark api-docs: without aws-rds"):
        benchmark("api-docs", progress=False)


def test_a_wrong_option_is_refused(small: Path) -> None:
    assert str(Source.parse("api-docs?body=prose")) == "api-docs?body=prose"
    with pytest.raises(ValueError, match="option 'size', allowed for api-docs are body"):
        benchmark("api-docs?size=3")
    with pytest.raises(ValueError, match="body='some', allowed are full, prose"):
        benchmark("api-docs?body=some")
