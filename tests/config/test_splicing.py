"""Another policy in a configuration's text: all else stays."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from scp.config.load import judge
from scp.config.splicing import with_policy
from scp.errors import ConfigurationError

pytestmark = pytest.mark.quick

NEW = '# measured\n[[policy]]\nname = "new"\nstages = [{ form = "zstd" }]\n'
OLD = """# mine
[node]
aet = "A"

# our rules
[[policy]]
name = "one"
stages = [{ form = "htj2k" }]
# among them
[[policy]]
name = '''
[[policy]]
'''
[policy.match]
Modality = "CT"

# what goes
[[retention]]
name = "old"
after = "10d"
"""


def test_the_tables_of_a_policy_are_replaced_and_all_else_stays() -> None:
    found = with_policy(OLD, NEW)
    before, after = tomllib.loads(OLD), tomllib.loads(found)
    assert [rule["name"] for rule in after.pop("policy")] == ["new"]
    before.pop("policy")
    assert before == after
    assert found.startswith('# mine\n[node]\naet = "A"\n\n# our rules\n\n# measured\n[[policy]]\n')
    assert found.endswith('\n\n# what goes\n[[retention]]\nname = "old"\nafter = "10d"\n')
    assert with_policy(found, NEW).count("[[policy]]") == 1


@pytest.mark.parametrize("text", ["", '[node]\naet = "A"', '[node]\naet = "A"\n'])
def test_a_policy_comes_at_the_end_where_there_was_none(text: str) -> None:
    found = tomllib.loads(with_policy(text, NEW))
    assert found.pop("policy")[0]["name"] == "new"
    assert found == tomllib.loads(text)


def test_the_shipped_configuration_takes_another_policy() -> None:
    shipped = Path(__file__).parents[2] / "conf" / "zscp.toml"
    text = with_policy(shipped.read_text(encoding="utf-8"), NEW)
    settings = judge(text, {}).settings
    assert settings is not None
    assert [rule.name for rule in settings.policy] == ["new"]


@pytest.mark.parametrize("text", ['policy = [{ name = "a" }]\n', "policy = \n"])
def test_what_cannot_be_replaced_is_said(text: str) -> None:
    with pytest.raises(ConfigurationError):
        with_policy(text, NEW)
