"""The contract of a study: every study of the project satisfies it, and each departure from it is named."""

import dataclasses
import inspect
from pathlib import Path

import pytest
from study_cases import write_study

import gradjax.study
from gradjax.study import contract, options

ROOT = Path(__file__).resolve().parents[1]
PROJECT = contract.discover(ROOT / "studies")


@pytest.mark.parametrize("study", PROJECT, ids=lambda study: study.name)
def test_every_study_satisfies_the_contract(study):
    assert contract.departures(study, study.module) == []
    assert study.question.count("?") >= 1 and len(study.title) <= 90


@pytest.mark.parametrize("study", PROJECT, ids=lambda study: study.name)
def test_every_study_has_its_row_in_the_readme(study):
    assert study.name in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_study_has_its_own_place_in_the_reading_order():
    places = [(study.part, study.order) for study in PROJECT]
    assert len(set(places)) == len(places)


def test_the_tiny_study_is_read_without_running_it(tmp_path):
    study = contract.Study(write_study(tmp_path, changes=[("ORDER = 7", "ORDER = 7\nraise SystemExit")]))
    assert (study.name, study.part, study.order) == ("coin", "article", 7)
    assert study.title == "A fair coin & <its> mean"
    assert study.question == "How far does the mean of n fair coins lie from `one half`?"
    assert study.field_documents()["seed"] == "Of the generator."


def test_a_sound_study_departs_in_nothing(tmp_path):
    study = contract.Study(write_study(tmp_path))
    assert contract.departures(study, study.module) == []
    assert study.module is study.module


BREAKS = {
    "no question": (("How far does", "We ask how far"), ("`one half`?", "`one half`."), "holds no question"),
    "no reference": (("(1713)", "(long ago)"), "names no reference with its year"),
    "no order": (("ORDER = 7", "order = 7"), "ORDER is missing"),
    "no config": (("class Config", "class Settings"), ("Config(", "Settings("), "Config is no frozen dataclass"),
    "thawed config": (("(frozen=True)", "()"), "Config is no frozen dataclass"),
    "undocumented field": (('    """How many coins in a throw."""\n', ""), "Config.coins has no docstring below it"),
    "field without default": (
        ("    coins: int = 64", "    coins: int"),
        ('"full": Config()', '"full": Config(64)'),
        "Config.coins has no default",
    ),
    "reserved field": (
        ("    trouble: str", "    platform: str"),
        "Config.platform is a flag of the command line itself",
    ),
    "no seed": (("seed: int = 0", "seed: float = 0.0"), "Config has no field seed: int = 0"),
    "another seed": (("seed: int = 0", "seed: int = 1"), "Config has no field seed: int = 0"),
    "no plant field": (('plant: str = ""', 'plant: str = "bent"'), 'Config has no field plant: str = ""'),
    "preset missing": (('"quick": Config(coins=16), ', ""), "PRESETS has not exactly the keys"),
    "preset of another kind": (("Config(coins=16)", "{}"), "PRESETS holds something that is no Config"),
    "full is not the defaults": (('"full": Config()', '"full": Config(seed=1)'), "PRESETS['full'] is not Config()"),
    "no plants": (("PLANTS = {", "PLANTS = {} and {"), "PLANTS is missing or empty"),
    "empty plant": (('("the mean", "a control")', "()"), "PLANTS is no dict from fault"),
    "plant of words": (('("the mean", "a control")', '"the mean"'), "PLANTS is no dict from fault"),
    "miss without a reason": (
        ("PLANTS = {", 'MISSES = {"the mean": " "}\nPLANTS = {'),
        "MISSES is no dict from claim name",
    ),
    "misses of words": (("PLANTS = {", 'MISSES = "the mean"\nPLANTS = {'), "MISSES is no dict from claim name"),
    "no compute": (("def compute(", "def computes("), "compute(config) is missing"),
    "another argument": (("def claims(config, result)", "def claims(result, config)"), "claims(config, result) is"),
    "no plot": (("def plot(", "def draw("), "plot(config, result) is missing"),
    "no last line": (("(__file__))\n", "(__file__))\nEND = 1\n"), "the last line is not"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_departure_is_named(tmp_path, name):
    *changes, words = BREAKS[name]
    study = contract.Study(write_study(tmp_path, changes=changes))
    with pytest.raises(ValueError) as caught:
        _ = study.module
    assert words in str(caught.value) and "coin.py is not a study yet" in str(caught.value)


def test_a_study_without_a_docstring_is_refused(tmp_path):
    path = write_study(tmp_path)
    path.write_text(path.read_text().partition('"""\n\nimport')[2].join(["import", ""]))
    with pytest.raises(ValueError, match="the module has no docstring"):
        _ = contract.Study(path).module


def test_the_reserved_names_are_the_command_line_s_own():
    flags = {field.name for field in dataclasses.fields(options.Options)}
    assert flags | {"names", "config", "help"} == contract.RESERVED


def test_the_package_exports_what_a_study_needs():
    text = inspect.getsource(gradjax.study)
    assert len(text.splitlines()) < 25 and contract.GUARD in text
    for name in ("Claim", "Study", "departures", "discover", "main", "plotting", "progress"):
        assert hasattr(gradjax.study, name)
