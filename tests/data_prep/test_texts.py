"""Texts that a shard cannot hold, and names that are nearly a known one."""

import pytest

from data_prep.texts import near_name, text_fault, value_fault


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["Choice"], ("Choice", "choice")),
        (["x", "DEPTH UM"], ("DEPTH UM", "depth_um")),
        (["depth-um"], ("depth-um", "depth_um")),
        (["choice", "Choice"], None),
        (["choices", "depth"], None),
        ([], None),
    ],
)
def test_a_name_that_is_nearly_a_known_one_is_found(given, found):
    assert near_name(given, ["choice", "depth_um"]) == found


def test_texts_of_any_language_are_good_and_values_may_have_lines():
    assert text_fault("Größe 脳 \U0001f42d") is None
    assert value_fault("two\nlines\tof text") is None
    assert "control characters: 'two\\nlines'" in text_fault("two\nlines")
    assert "half a character" in text_fault("a\udcff")
    assert "code 0: 'a\\x00'" in value_fault("a\0")
