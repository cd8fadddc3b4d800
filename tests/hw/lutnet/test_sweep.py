"""Searches: a study that is finished, resumed, shared with a cluster, and what is refused."""

import json

import pytest

from hw.lutnet import __main__ as lutnet
from hw.lutnet.config import NetworkConfig
from hw.lutnet.model import load
from hw.lutnet.settings import TrainConfig
from hw.lutnet.sweep import Space, front, sweep

SMALL = TrainConfig(epochs=1, candidates=16)
NODES = Space([["nodes", "20", "30"], ["tau", "1:4"]])


def _sweep(folder, trials, space=NODES, **options):
    return sweep("digits", SMALL, NetworkConfig(), space, trials=trials, folder=folder, **options)


def test_a_study_goes_on_where_its_journal_ends(tmp_path):
    first = [t.values for t in _sweep(tmp_path, 2).trials]
    seen = []
    study = _sweep(tmp_path, 3, report=lambda number, measures: seen.append(number))
    assert [t.values for t in study.trials[:2]] == first and seen == [2]
    rows = front(study, NODES)
    # Nothing on the front is beaten in both.
    for row in rows:
        assert not any(t.values[0] >= row["score"] and t.values[1] < row["lut_total"]
                       or t.values[0] > row["score"] and t.values[1] <= row["lut_total"]
                       for t in study.trials)
        model = load(tmp_path / f"trial{row['trial']:04d}.npz")
        assert len(model.group) == row["parameters"]["nodes"][0]
    with pytest.raises(ValueError, match="^cost of the study in .* must stay lut_total, not "):
        _sweep(tmp_path, 3, cost="lut_core")


def test_points_that_cannot_be_are_failed_and_said(tmp_path, capsys):
    assert lutnet.main(["sweep", "--search", "nodes", "5", "6", "--search", "sum_levels", "0", "1",
                        "--trials", "2", "-o", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["points"], line["failed"], line["front"]) == (2, 2, [])
    assert line["why"][0].startswith("nodes of the last layer must be at least one for each")
    assert json.loads((tmp_path / "sweep.json").read_text()) == []


def test_a_cluster_evaluates(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False,
                                  dashboard_address=None) as cluster:
        study = _sweep(tmp_path, 1, dask=cluster.scheduler_address)
    assert study.trials[0].values[1] == study.trials[0].user_attrs["lut_total"] > 0


@pytest.mark.parametrize("words, message", [
    ([], "search must be given at least once, as --search nodes 100 300"),
    ([["tau"]], "search of tau must have values, or a range as 1:8"),
    ([["seed", "1"]], "search must begin with one of nodes, stages, .*, not 'seed'"),
    ([["tau", "big"]], "a value of tau must be like 0.0, not 'big'"),
    ([["deep_wiring", "yes"]], "a value of deep_wiring must be like False, not 'yes'"),
    ([["tau", "4:1"]], "a range of tau must be LOW:HIGH or LOW:HIGH:log, not '4:1'"),
    ([["epochs", "1:4:lin"]], "a range of epochs must be LOW:HIGH or LOW:HIGH:log, not '1:4:lin'"),
    ([["family", "bb:dwn"]], "a range of family must be LOW:HIGH or LOW:HIGH:log, not 'bb:dwn'"),
])
def test_wrong_space(words, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Space(words)


def test_choices_are_of_their_field():
    space = Space([["nodes", "100", "500,100"], ["deep_wiring", "true", "false"],
                   ["registers", "layers", "layers,label"], ["rate", "1e-3:1e-1:log"]])
    assert space.choices == {"nodes": ((100,), (500, 100)), "deep_wiring": (True, False),
                             "registers": (("layers",), ("layers", "label"))}
    assert space.ranges == {"rate": (1e-3, 1e-1, True)}


@pytest.mark.parametrize("options, message", [
    (["--trials", "0"], "trials must be 1 to 1000000, not 0"),
    (["--processes", "0"], "processes must be 1 to 1024, not 0"),
    (["--validation", "0"], "validation must be above 0 for a search, not 0.0"),
    (["--dask", "nowhere"], "dask must be the address of a scheduler that answers, not 'nowhere'"),
])
def test_wrong_options(options, message, tmp_path):
    with pytest.raises(ValueError, match=f"^{message}"):
        lutnet.main(["sweep", "--search", "tau", "1", "2", "-o", str(tmp_path), *options])
