"""Settings: four sources, one object, and errors that say what to write."""

from __future__ import annotations

import pydoc
import sys
from pathlib import Path

import pytest
from msgspec import Struct

from greenroom import Agent, MemoryStore, Runtime, asgi
from greenroom.app import check, open_store
from greenroom.auth import Limits
from greenroom.cli import settings as explain
from greenroom.cli.main import main
from greenroom.runtime.settings.described import meanings
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.settings.settings import Settings, SettingsError, load, names, options
from greenroom.transports.grpc.server import GrpcServer
from greenroom.transports.grpc.settings import GrpcSettings
from greenroom.transports.http.settings import HttpSettings
from greenroom.transports.settings import Listen
from tests.support.paths import ROOT


def test_later_sources_win(tmp_path: Path) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text(
        '[greenroom]\nhost = "file"\nport = 1\ngrace = 1\n[greenroom.runtime]\nidle = 7\n'
    )
    settings = load(
        config=str(config),
        environ={"GREENROOM_PORT": "2", "GREENROOM_GRACE": "2", "PATH": "/bin"},
        overrides={"grace": "3"},
    )
    assert (settings.host, settings.port, settings.grace) == ("file", 2, 3.0)
    assert settings.runtime.idle == 7.0
    assert settings.store == Settings().store


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    config = tmp_path / "elsewhere.toml"
    config.write_text("[greenroom]\nport = 5\n")
    assert load(environ={"GREENROOM_CONFIG": str(config)}).port == 5


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"GREENROOM_PROT": "1"}, "did you mean GREENROOM_PORT?"),
        ({"GREENROOM_PORT": "many"}, "setting port: Expected `int`"),
        ({"GREENROOM_PORT": "99999"}, "setting port: Expected `int` <= 65535"),
        ({"GREENROOM_RUNTIME_IDLE": "x"}, "setting runtime.idle"),
        ({"GREENROOM_RUNTIME_IDLE": "-1"}, "setting runtime.idle: Expected `float` >= 0.0"),
        ({"GREENROOM_RUNTIME_IDLE": "nan"}, "setting runtime.idle: Expected `float` >= 0.0"),
        ({"GREENROOM_RUNTIME_WINDOW": "0"}, "setting runtime.window: Expected `int` >= 1"),
        ({"GREENROOM_RUNTIME_PAGE_SIZE": "101"}, "setting runtime.page_size"),
        ({"GREENROOM_RUNTIME_TASK_RETENTION": "-5"}, "setting runtime.task_retention"),
        ({"GREENROOM_GRPC_PORT": "-1"}, "setting grpc_port: Expected `int` >= 0"),
        ({"GREENROOM_LIMITS_PARTS": "0"}, "setting limits.parts: Expected `int` >= 1"),
        ({"GREENROOM_LIMITS_RATE": "-1"}, "setting limits.rate: Expected `float` >= 0.0"),
        ({"GREENROOM_LIMITS_BURST": "0"}, "setting limits.burst: Expected `float` > 0.0"),
        ({"GREENROOM_LIMITS_OPERATIONS": "SendMessage=-1"}, "setting limits.operations"),
        ({"GREENROOM_HTTP_MAX_BODY": "-1"}, "setting http.max_body: Expected `int` >= 1"),
        ({"GREENROOM_HTTP_BODY_TIMEOUT": "0"}, "setting http.body_timeout"),
        ({"GREENROOM_GRPC_MAX_STREAMS": "0"}, "setting grpc.max_streams"),
        ({"GREENROOM_AUTH_LEEWAY": "-1"}, "setting auth.leeway: Expected `float` >= 0.0"),
        ({"GREENROOM_BACKEND": "twisted"}, "'twisted'; it is one of asyncio, trio"),
        ({"GREENROOM_PUBLIC_URL": "agents.example.com"}, "as in https://agents.example.com"),
        ({"GREENROOM_ZZZZZZZZZ": "1"}, "`greenroom settings` lists them"),
        ({"GREENROOM_RUNTIME_NOSUCH": "1"}, "`greenroom settings` lists them"),
        ({"GREENROOM_RUNTIME_IDEL": "1"}, "did you mean GREENROOM_RUNTIME_IDLE?"),
        ({"GREENROOM_GRPC_PROT": "1"}, "did you mean GREENROOM_GRPC_PORT?"),
        ({"GREENROOM_IDLE": "1"}, "did you mean GREENROOM_GRPC_IDLE or GREENROOM_RUNTIME_IDLE?"),
        ({"GREENROOM_AUTH_TOKEN": "none", "GREENROOM_AUTH_ANONYMOUS": "none"}, "auth.anonymous"),
    ],
)
def test_bad_values_say_where_and_what(environ: dict[str, str], text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ=environ)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("port = 1", "has no [greenroom] table"),
        ("[greenroom]\nprot = 1", "did you mean port?"),
        ("[greenroom.http]\nmax_boddy = 1", "did you mean http.max_body?"),
        ("[greenroom.runtime]\nmax_body = 1", "did you mean http.max_body?"),
        ("[greenroom.runtime]\ntaskretention = 1", "did you mean runtime.task_retention?"),
        ("[greenroom.http]\nwhatever = 1", "`greenroom settings` lists them"),
        ("[greenroom", "is not valid TOML"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, source: str, text: str) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text(source)
    with pytest.raises(SettingsError) as caught:
        load(config=str(config))
    assert text in str(caught.value)
    with pytest.raises(SettingsError, match="cannot read"):
        load(config=str(tmp_path / "none.toml"))


def test_limits_of_the_runtime_hold_in_code_too() -> None:
    agent = Agent("A")
    agent.handler(lambda ctx: ctx.text)
    for name, wrong in (
        ("window", RuntimeSettings(window=0)),
        ("idle", RuntimeSettings(idle=-1.0)),
        ("lease", RuntimeSettings(lease=0.0)),
        ("history_limit", RuntimeSettings(history_limit=-1)),
    ):
        with pytest.raises(ValueError, match=f"RuntimeSettings: .* for {name}$"):
            Runtime(agent, store=MemoryStore(), settings=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        Limits(parts=0), Limits(part_bytes=-1), Limits(tasks=0), Limits(rate=-1.0),
        Limits(burst=0.0), Limits(max_penalty=float("nan")), Limits(tracked_addresses=0),
        Limits(operations={"SendMessage": -1.0}), Limits(operations={"SendMesage": 1.0}),
        HttpSettings(max_body=0), HttpSettings(body_timeout=-1.0), HttpSettings(write_timeout=0.0),
        HttpSettings(drain=-1),
    ],
    ids=repr,
)  # fmt: skip
def test_other_limits_hold_in_code_too(wrong: Limits | HttpSettings) -> None:
    agent = Agent("A")
    agent.handler(lambda ctx: ctx.text)
    kind, default = type(wrong), type(wrong)()
    names = [n for n in kind.__struct_fields__ if getattr(wrong, n) != getattr(default, n)]
    limits = wrong if isinstance(wrong, Limits) else None
    http = wrong if isinstance(wrong, HttpSettings) else None
    with pytest.raises(ValueError, match=names[0]):
        asgi(agent, limits=limits, http=http)


def test_limits_of_grpc_hold_in_code_too() -> None:
    agent = Agent("A")
    agent.handler(lambda ctx: ctx.text)
    for name, wrong in (
        ("max_receive", GrpcSettings(max_receive=0)),
        ("age", GrpcSettings(age=0.0)),
    ):
        with pytest.raises(ValueError, match=f"GrpcSettings: .* for {name}$"):
            GrpcServer(Runtime(agent, store=MemoryStore()), wrong)
    with pytest.raises(ValueError, match=r"Listen: .* for port$"):
        GrpcServer(Runtime(agent, store=MemoryStore()), listen=Listen(port=-1))


def test_what_an_orchestrator_sets_for_a_service_of_this_name_is_not_ours() -> None:
    settings = load(
        environ={
            "GREENROOM_SERVICE_HOST": "10.0.0.1",
            "GREENROOM_SERVICE_PORT_HTTP": "80",
            "GREENROOM_PORT": "tcp://10.0.0.1:80",
            "GREENROOM_PORT_80_TCP_ADDR": "10.0.0.1",
        }
    )
    assert settings.port == Settings().port


def test_lists_are_written_with_commas() -> None:
    settings = load(environ={"GREENROOM_HTTP_CORS_ORIGINS": "https://a.example, https://b.example"})
    assert settings.http.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("none", ["none", "null"])
def test_what_may_be_unset_is_unset_by_name(none: str, tmp_path: Path) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text(
        '[greenroom]\npublic_url = "https://agents.example.com"\ngrpc_port = 50051\n'
        "[greenroom.runtime]\ntask_retention = 60\n"
    )
    named = ("public_url", "grpc_port", "runtime.task_retention", "runtime.event_limit")
    by_call = load(config=str(config), overrides=dict.fromkeys(named, none))
    by_environment = load(
        config=str(config),
        environ={variable: none for variable, setting in names().items() if setting in named},
    )
    for settings in (by_call, by_environment):
        assert (settings.public_url, settings.grpc_port) == (None, None)
        assert settings.runtime.task_retention is None
        assert settings.runtime.event_limit is None
    with pytest.raises(SettingsError, match="setting port"):
        load(overrides={"port": none})
    # A token that somebody forgot to fill in is no leave to call without one.
    assert load(overrides={"auth.token": none}).auth.token == none


def test_every_setting_is_described_and_has_a_variable() -> None:
    for option in options():
        assert option.description, option.name
    for setting in explain.explained():
        assert setting.meaning, setting.name
    assert {"port", "http.max_body", "runtime.idle"} <= set(names().values())


def test_the_page_says_what_the_source_says() -> None:
    page = ROOT / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == explain.page(), "run `make settings`"
    assert set(names().values()) >= explain.BYTES | explain.SECONDS | explain.RATES


def test_settings_are_explained_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "retention"]) == 0
    told = capsys.readouterr().out
    assert "runtime.send_retention (86,400 s)\n    How long a repeated" in told
    assert "runtime.task_retention (none (s))" in told
    assert "port" not in told
    assert main(["settings"]) == 0
    assert len(capsys.readouterr().out) > len(told)
    assert main(["settings", "runtime.idel"]) == 2
    assert capsys.readouterr().err.endswith("in its name; did you mean runtime.idle?\n")


@pytest.mark.parametrize("kind", [RuntimeSettings, HttpSettings, GrpcSettings, Limits])
def test_help_tells_what_the_fields_mean(kind: type[Struct]) -> None:
    told = " ".join(pydoc.plain(pydoc.render_doc(kind)).replace("|", "").split())
    for name, meaning in meanings(kind).items():
        assert f"{name}: {meaning}" in told


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (Settings(workers=2), "needs a store that processes can share"),
        (Settings(loop="uvloop", backend="trio"), "for the asyncio backend"),
        (Settings(grace=30, deadline=5), "grace = 30 is longer than deadline = 5, .* make the"),
        (Settings(port=-1), "Settings: Expected `int` >= 0 for port"),
        (Settings(limits=Limits(parts=0)), "Settings: Expected `int` >= 1 for limits.parts"),
    ],
)
def test_settings_that_do_not_go_together(settings: Settings, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        check(settings)


def test_grpc_on_trio_is_refused_before_trio_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody installs what would not help."""
    monkeypatch.delitem(sys.modules, "trio", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="grpc_port needs backend = asyncio"):
        check(Settings(backend="trio", grpc_port=0))
    with pytest.raises(SettingsError, match=r"greenroom\[trio\]"):
        check(Settings(backend="trio"))


def test_stores_are_named_by_url(tmp_path: Path) -> None:
    assert type(open_store("memory://")).__name__ == "MemoryStore"
    store = open_store(f"sqlite:///{tmp_path}/a%20b.db?durability=relaxed")
    assert "a b.db" in repr(store)


@pytest.mark.parametrize(
    "url",
    ["", "tasks.db", "sqlite://tasks.db", "sqlite:///", "sqlite:/a.db", "memory://x", "postgresql://host/db",
     "sqlite:///a.db?durability=none", "sqlite:///a.db?mode=ro"],
)  # fmt: skip
def test_a_store_that_is_not_understood_says_how_to_write_it(url: str) -> None:
    with pytest.raises(SettingsError, match="store"):
        open_store(url)
