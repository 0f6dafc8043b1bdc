"""Kubeconfigs: what is read, what is said of a bad one, and how one is written."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from proxy.kube.config import ConfigError, load_kubeconfig, write_kubeconfig

CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "c",
            "cluster": {"server": "https://h:6443/x/", "certificate-authority-data": base64.b64encode(b"CA").decode()},
        }
    ],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "k", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "k",
}


def test_reads_server_ca_and_token_and_hides_the_token() -> None:
    connection = load_kubeconfig(CONFIG)
    assert (connection.server, connection.ca_data, connection.bearer()) == ("https://h:6443/x", b"CA", "t")
    assert "'t'" not in repr(connection)


def test_token_files_are_read_again_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    config = CONFIG | {"users": [{"name": "u", "user": {"tokenFile": "token"}}]}
    write_kubeconfig(tmp_path / "config", config)
    connection = load_kubeconfig(tmp_path / "config")
    assert connection.bearer() == "one"
    (tmp_path / "token").write_text("two\n")
    assert connection.bearer() == "two"


def test_is_written_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "config"
    write_kubeconfig(path, CONFIG)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_kubeconfig(path) == load_kubeconfig(CONFIG)
    assert [p.name for p in path.parent.iterdir()] == ["config"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not a kubeconfig"),
        ("[", "not valid YAML"),
        ("clusters: []", "no context is set"),
        ("current-context: k\ncontexts: []", "context 'k' does not exist"),
        ("current-context: k\ncontexts: [{name: k, context: {cluster: c}}]", "cluster 'c' does not exist"),
        (
            "current-context: k\ncontexts: [{name: k, context: {cluster: c}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: nowhere}}]",
            "certificate-authority nowhere: No such file",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_kubeconfig(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
