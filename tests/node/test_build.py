"""What the node is built on: whether there is an index for what the stores hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from scp.config.settings import Settings
from scp.errors import IndexUnfit
from scp.node.build import require_index
from scp.objects.local import LocalStore

pytestmark = pytest.mark.quick


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    tables = {
        "storage": {"url": f"file://{tmp_path}/objects"},
        "index": {"url": f"sqlite:///{tmp_path}/index.db"},
    }
    return Settings.model_validate(tables)


@pytest.mark.parametrize("name", [".gitkeep", "dictionaries/.gitkeep", None])
def test_a_folder_without_objects_needs_no_index(settings: Settings, name: str | None) -> None:
    folder = settings.storage.path
    if name is not None:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    require_index(settings)


def test_a_folder_with_an_object_needs_one(settings: Settings) -> None:
    store = LocalStore(settings.storage.path)
    store.put("3f/a2/1.2.3/1.2.3.4_0123456789abcdef.htj2k.dcm", b"file")
    store.close()
    with pytest.raises(IndexUnfit):
        require_index(settings)
