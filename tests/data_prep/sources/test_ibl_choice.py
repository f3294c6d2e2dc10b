"""Which sessions are chosen: by list, by ONE-api's search, by release tag."""

import http.client
import re
import shutil
from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.sources.ibl.choice import Choice, find_chosen
from data_prep.sources.ibl.patience import Patience
from data_prep.sources.ibl.queries import parse_query
from data_prep.sources.ibl.repeated_site import HELDOUT_EIDS, PRETRAIN_EIDS
from data_prep.sources.ibl.session_lists import listed_sessions
from data_prep.sources.ibl.sessions import open_one
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_header
from neuromtm.errors import ConfigError
from neuromtm.files import read_table

pytest.importorskip("one", reason="ONE-api is not installed")

from tests.data_prep.sources import stand_in_one as stand_in
from tests.data_prep.sources.stand_in_one import FIRST, SECOND


def test_the_brain_wide_map_has_699_insertions_of_459_sessions():
    found = listed_sessions("brain-wide-map")
    assert len(found) == 459
    assert sum(len(probes or ()) for probes in found.values()) == 699
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", eid) for eid in found)
    assert {probe for probes in found.values() for probe in probes or ()} == {
        "probe00", "probe01", "probe00a", "probe00b",
    }  # fmt: skip
    assert all(len({*(probes or ())}) == len(probes or ()) for probes in found.values())
    assert (found[FIRST], found[SECOND]) == (("probe01",), ("probe00", "probe01"))


def test_the_repeated_site_sessions_are_read_whole():
    found = listed_sessions("repeated-site")
    assert {*found} == {*PRETRAIN_EIDS, *HELDOUT_EIDS}
    assert {*found.values()} == {None}


COMMAND = "python -m data_prep ibl --list brain-wide-map --cache-dir raw --max-raw-gb 20 --out data/brain-wide-map"


def test_the_command_of_the_page_reads_only_the_probes_of_the_freeze(server, ibl, root, tmp_path, capsys):
    assert COMMAND in (root / "docs" / "data.md").read_text().splitlines()
    options = COMMAND.split()[4:]
    options = [word for word in options if word not in ("--cache-dir", "raw", "--out", "data/brain-wide-map")]
    assert ibl(server, *options, eids=()) == 1
    assert "2 prepared, 0 already done, 457 skipped" in (out := capsys.readouterr().out)
    assert "  457 skipped: not in the database, or not open to this account. (6713a4a7" in out
    assert "and 452 more)" in out
    assert {row["eid"] for row in read_table(tmp_path / "out" / "skipped.csv")} == {
        eid for eid in listed_sessions("brain-wide-map") if eid not in (FIRST, SECOND)
    }
    headers = {eid: read_header(tmp_path / "out" / f"{eid}.h5") for eid in (FIRST, SECOND)}
    assert {*headers[FIRST].neurons.probe} == {"probe01"}
    assert {*headers[SECOND].neurons.probe} == {"probe00", "probe01"}
    assert headers[FIRST].preparation["freeze"] == "2023_12"
    assert not any("mouse-0-00/2020-01-01/001/alf/probe00/" in name for name in server.fetched)
    assert ibl(server) == 2  # all probes of the session
    assert "was prepared with other values of freeze" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pairs", "query"),
    [
        ([], {}),
        (["lab=cortexlab"], {"laboratory": "cortexlab"}),
        (["Subject=KS014,KS016", "number=1"], {"subject": ["KS014", "KS016"], "number": "1"}),
        (["subject=KS014", "subject=KS016"], {"subject": ["KS014", "KS016"]}),
        (["date=2020-01-01, 2020-02-01"], {"date_range": ["2020-01-01", "2020-02-01"]}),
        (["date_range=,2020-02-01"], {"date_range": [None, "2020-02-01"]}),
        (["data=spikes.times.npy", "dataset=a.b.npy"], {"datasets": ["spikes.times.npy", "a.b.npy"]}),
        (["project=brainwide", "task_protocol=ephys"], {"projects": "brainwide", "task_protocol": "ephys"}),
        (["django=subject__nickname,KS014"], {"django": "subject__nickname,KS014"}),
    ],
)
def test_queries_are_pairs_of_keys_and_values(pairs, query):
    assert parse_query(pairs) == query


@pytest.mark.parametrize("pair", ["lab", "=x", "lab=", "lab=,", " =1"])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        parse_query([pair])


@pytest.fixture(params=["local", "remote"])
def one(request, server, tmp_path):
    """The two sessions, in a local folder and in the database."""
    if request.param == "remote":
        return server.open(mode="remote", silent=True, cache_dir=tmp_path / "cache")
    return open_one(mode="local", cache_dir=server.tree)


def chosen(one, **choice) -> list[str]:
    found = find_chosen(one, Choice(**choice), patience=Patience(retries=0))
    return sorted(session.subject for session in found.sessions)


@pytest.mark.parametrize(
    ("pairs", "animals"),
    [
        (["subject=mouse-0-01"], ["mouse-0-01"]),
        (["lab=simlab", "date=2020-01-01"], ["mouse-0-00", "mouse-0-01"]),
        (["lab=simlab", "subject=mouse-0-00,mouse-0-01", "number=1"], ["mouse-0-00", "mouse-0-01"]),
        (["dataset=spikes.times.npy"], ["mouse-0-00", "mouse-0-01"]),
    ],
)
def test_a_query_chooses_sessions(one, pairs, animals):
    assert chosen(one, query=parse_query(pairs)) == animals


def test_a_query_that_finds_nothing_is_said(one):
    for pairs in (["subject=nobody"], ["date=2019-01-01"], ["dataset=nothing.npy"]):
        with pytest.raises(ConfigError, match=r"--query .*: no session is found"):
            chosen(one, query=parse_query(pairs))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("sbject=x", r"ONE-api has no sbject\. Do you mean subject\? It knows: .*laboratory"),
        ("zzz=x", r"ONE-api has no zzz\. It knows: "),
        ("date=yesterday", r"--query date_range=yesterday: a value is not of its kind"),
        ("number=one", r"--query number=one: a value is not of its kind"),
        ("subject=[", r"--query subject=\[: a value is not of its kind"),
    ],
)
def test_a_wrong_query_is_one_sentence(one, pair, message):
    with pytest.raises(ConfigError, match=message):
        chosen(one, query=parse_query([pair]))


def test_what_only_the_database_knows_is_said_of_a_folder(server):
    one = open_one(mode="local", cache_dir=server.tree)
    for key in ("users", "django", "performance_gte"):
        with pytest.raises(ConfigError, match=f"--query {key}: only the database can be searched for this"):
            chosen(one, query={key: "x"})


def test_a_query_narrows_down_names_and_lists(server, tmp_path):
    one = server.open(mode="remote", silent=True, cache_dir=tmp_path)
    query = parse_query(["subject=mouse-0-00"])
    assert chosen(one, names=(FIRST, SECOND), query=query) == ["mouse-0-00"]
    assert chosen(one, listed="brain-wide-map", query=query) == ["mouse-0-00"]
    found = find_chosen(one, Choice(listed="brain-wide-map", query=query), patience=Patience(retries=0))
    assert found.notes == ["--list brain-wide-map --query subject: 1 of 459 sessions."]
    assert found.unknown == []
    with pytest.raises(ConfigError, match="none of these sessions is found"):
        chosen(one, names=(SECOND,), query=query)


@pytest.mark.parametrize("failure", [stand_in.timeout, stand_in.answer(502)], ids=["timeout", "502"])
def test_a_search_is_tried_again(server, tmp_path, pauses, failure):
    one = server.open(mode="remote", silent=True, cache_dir=tmp_path)
    server.failures = {"search": [failure, failure, None]}
    query = parse_query(["subject=mouse"])
    assert len(find_chosen(one, Choice(query=query), patience=Patience(retries=2)).sessions) == 2
    assert pauses == [1, 2]
    server.failures = {"search": [failure]}
    with pytest.raises(ConfigError, match="the database cannot be searched"):
        find_chosen(one, Choice(query=query), patience=Patience(retries=2))


def test_a_broken_answer_is_one_sentence(server, tmp_path):
    def broken(*_):
        raise http.client.IncompleteRead(b"")

    one = server.open(mode="remote", silent=True, cache_dir=tmp_path)
    server.failures = {"search": [broken]}
    with pytest.raises(ConfigError, match="the database cannot be searched: IncompleteRead"):
        chosen(one, query={"subject": "x"})


def test_a_tag_chooses_the_sessions_of_a_release(server, ibl, tmp_path):
    assert ibl(server, "--tag", "Release1", eids=()) == 0
    assert [entry.eid for entry in read_manifest(tmp_path / "out")] == [FIRST]
    assert read_header(tmp_path / "out" / f"{FIRST}.h5").preparation["tag"] == "Release1"


def test_a_tag_that_the_database_does_not_know_is_one_sentence(server, ibl, capsys):
    assert ibl(server, "--tag", "Release7", eids=()) == 2
    assert "--tag Release7: the database has no such release, or does not answer" in capsys.readouterr().err
    assert ibl(server, "--tag", "Release1", "--query", "users=me", eids=()) == 2
    assert "only the database can be searched for this" in capsys.readouterr().err


def test_a_local_folder_has_no_tags_and_may_have_other_eids(database, tmp_path, capsys):
    words = ["ibl", "--mode", "local", "--cache-dir", str(database.tree), "--out", str(tmp_path / "out")]
    assert main([*words, "--tag", "Release1"]) == 2
    assert "only the database has release tags" in capsys.readouterr().err
    assert main([*words, "--list", "brain-wide-map"]) == 2
    assert "knows them by other eids" in capsys.readouterr().err


def test_the_list_is_for_a_local_folder_whose_tables_are_those_of_the_database(database, tmp_path):
    from iblutil.io import parquet
    from one.alf.cache import cast_index_object

    tree = Path(shutil.copytree(database.tree, tmp_path / "tree"))
    for name, frame in (("sessions", database._sessions), ("datasets", database._datasets)):
        _, about = parquet.load(tree / f"{name}.pqt")
        parquet.save(tree / f"{name}.pqt", cast_index_object(frame.copy(), str), about)
    words = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--list", "brain-wide-map"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    header = read_header(tmp_path / "out" / "simlab_mouse-0-00_2020-01-01_001.h5")
    assert {*header.neurons.probe} == {"probe01"}
