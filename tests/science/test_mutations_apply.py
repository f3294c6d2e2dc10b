"""The changes of mutations.yaml are still of this code. Running them is another program: docs/testing.md."""

import ast
import re

import pytest

from tests.science.mutate import ROOT, mutations

EVERY = mutations()


def test_there_are_many_and_each_is_another():
    assert len(EVERY) >= 60
    assert len({(one.file, one.text, one.becomes) for one in EVERY}) == len(EVERY)


@pytest.mark.parametrize("mutation", EVERY, ids=lambda one: f"{one.file}: {one.why}")
def test_its_text_stands_in_its_file_once_and_what_it_becomes_is_python(mutation):
    assert mutation.text != mutation.becomes
    ast.parse(mutation.applied(ROOT))


@pytest.mark.parametrize("test", sorted({test for one in EVERY for test in one.tests}))
def test_its_tests_are_there(test):
    path, _, name = test.partition("::")
    assert (ROOT / path).exists()
    assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_what_survives_is_listed_in_the_docs_with_its_reason():
    page = " ".join((ROOT / "docs" / "testing.md").read_text(encoding="utf-8").split())
    for one in EVERY:
        if one.survives:
            assert one.file.split("/")[-1] in page
            assert " ".join(one.survives.split()) in page, f"docs/testing.md lacks: {one.survives}"
