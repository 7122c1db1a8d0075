"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom import __version__
from greenroom.cli.main import main
from greenroom.cli.send import Screen
from greenroom.loading import LoadError, load_agent, load_agents
from greenroom.protocol import types as t
from tests.support.processes import AGENTS, Process, cli
from tests.support.servers import as_process


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with as_process("--store", "memory://") as running:
        yield running


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["serve", "--help"], ["send", "--help"], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"greenroom {__version__}" in printed
    for flag in ("--store", "--public-url", "--certfile", "--backend", "--log-format", "--reload",
                 "cors_origins", "task_retention"):  # fmt: skip
        assert flag in printed


def test_help_says_what_each_flag_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    printed = capsys.readouterr().out
    for line in ("--grpc-port PORT", "--port PORT", "--certfile FILE", "--public-url URL",
                 "--grace SECONDS", "--workers N"):  # fmt: skip
        assert f"  {line} " in printed


def test_python_m_is_the_command() -> None:
    script = str(Path(sys.executable).with_name("greenroom"))
    for command in ([sys.executable, "-m", "greenroom"], [script]):
        result = subprocess.run([*command, "--version"], capture_output=True, check=True)
        assert result.stdout.decode().strip() == f"greenroom {__version__}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "name an agent to serve"),
        (["no_such_module_here:agent"], "there is no module 'no_such_module_here'"),
        (["no_such_file.py:agent"], "there is no file no_such_file.py"),
        ([f"{AGENTS}:agnet"], "no attribute 'agnet'; its agents are: agent, stubborn"),
        ([f"{AGENTS}:not_an_agent"], "is a str, not an Agent"),
        ([AGENTS], "say which agent"),
        ([f"{AGENTS}:agent", f"{AGENTS}:agent"], "two agents have the slug 'e2e'"),
        ([f"{AGENTS}:agent", "--set", "idle"], "write NAME=VALUE"),
        ([f"{AGENTS}:agent", "--set", "runtime.idel=1"], "did you mean runtime.idle?"),
        ([f"{AGENTS}:agent", "--set", "runtime.idle=none"], "runtime.idle: it cannot be unset"),
        (
            [f"{AGENTS}:agent", "--store", "sqlite://x/tasks.db"],
            "three slashes for a relative path",
        ),
        ([f"{AGENTS}:agent", "--workers", "2"], "needs a store that processes can share"),
        ([f"{AGENTS}:agent", "--store", "x.db"], "store 'x.db' is not understood"),
        ([f"{AGENTS}:agent", "--certfile", "x"], "TLS needs both certfile and keyfile"),
        ([f"{AGENTS}:agent", "--certfile", "x", "--keyfile", "y"], "cannot use certfile x"),
        ([f"{AGENTS}:agent", "--http2"], "HTTP/2 is offered over TLS only"),
        ([f"{AGENTS}:agent", "--host", "no.such.host.invalid"], "cannot listen on"),
    ],
)
def test_serve_says_what_is_wrong(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = [] if "--store" in arguments else ["--store", "memory://"]
    assert main(["serve", *arguments, *memory, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.startswith("greenroom: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["serv"], "greenroom: error: "),
        (["serv"], "; did you mean serve?"),
        (["tasks", "lst"], "greenroom tasks: error: "),
        (["tasks", "lst"], "; did you mean list?"),
        (["tasks", "list", "x.db", "--state", "cancelled"], "; did you mean canceled?"),
        (["serve", "x.py:agent", "--prot", "3"], "greenroom serve: error: unrecognized"),
        (["serve", "x.py:agent", "--prot", "3"], "--prot 3; did you mean --port?"),
        (["send", "http://x", "hello", "--strem=1"], "--strem=1; did you mean --stream?"),
    ],
)
def test_what_is_misspelt_is_told_what_was_meant(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_an_import_error_in_the_agents_own_code_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken_agent.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(LoadError, match="a_module_that_is_not_there") as raised:
        load_agent(f"{tmp_path}/broken_agent.py:agent")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)
    assert str(raised.value).count("  File ") == 1, "a frame that is not the user's is shown"


def test_a_module_with_one_agent_needs_no_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import greenroom\nonly = greenroom.Agent('Only')\n@only.handler\ndef f(ctx): ...\n"
    (tmp_path / "one_agent_here.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_agent("one_agent_here").name == "Only"
    assert [agent.slug for agent in load_agents(("one_agent_here:only",))] == ["only"]
    with pytest.raises(LoadError, match="no attribute"):
        load_agent("one_agent_here:other")


# --- send ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_send_prints_the_answer(server: Process, version: str, stream: tuple[str, ...]) -> None:
    sent = cli("send", server.url, "echo hello", "--version", version, *stream)
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout == "You said: hello\n"
    assert sent.stderr.splitlines()[-1] == "(completed)"


def test_send_goes_on_with_a_task(server: Process) -> None:
    asked = cli("send", server.url, "ask", "--stream")
    assert asked.returncode == 4
    assert "(input-required): Who?" in asked.stderr
    command = asked.stderr.splitlines()[-1]
    task = command.partition("--task ")[2].split()[0]
    answered = cli("send", f"{server.url}/a2a", "Ada", "--task", task)
    assert answered.returncode == 0
    assert answered.stdout == "Hello, Ada\n"


def test_the_command_that_an_open_question_prints_answers_it(server: Process) -> None:
    asked = cli("send", server.url, "ask")
    printed = shlex.split(asked.stderr.splitlines()[-1].removeprefix("answer with: "))
    assert (printed[0], printed[-1]) == ("greenroom", "...")
    answered = cli(*printed[1:-1], "Ada")
    assert (answered.returncode, answered.stdout) == (0, "Hello, Ada\n"), answered.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("send", "--stream", "URL", "--timeout", "9", "echo hello"),
        ("send", "--timeout", "9", "URL", "--stream", "--", "echo hello"),
        ("send", "URL", "echo hello", "--stream"),
    ],
)
def test_options_of_send_stand_anywhere(server: Process, words: tuple[str, ...]) -> None:
    sent = cli(*(server.url if word == "URL" else word for word in words))
    assert (sent.returncode, sent.stdout) == (0, "You said: hello\n"), sent.stderr


@pytest.mark.parametrize(
    "words",
    [("--api-key", "k"), ("--transport", "GRPC"), ("--text", "b"), ("-o", "json"), ("--async",)],
)
def test_send_ignores_no_option(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert main(["send", "http://127.0.0.1:1", "hello", *words]) == 2
    assert "greenroom send -a URL" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/a2a/agents/nobody", "/a2a/agents/nobody/a2a", "/nothing"])
def test_send_does_not_take_another_agent_for_the_one_it_was_given(
    server: Process, path: str
) -> None:
    sent = cli("send", server.url + path, "echo for somebody else")
    assert (sent.returncode, sent.stdout) == (3, "")
    assert f"no agent at {server.url}{path}" in sent.stderr


@pytest.mark.parametrize("path", ["/", "/a2a", "/a2a/", "/a2a/agents/e2e", "/a2a/agents/e2e/a2a"])
def test_send_finds_the_agent_by_each_of_its_addresses(server: Process, path: str) -> None:
    assert cli("send", server.url + path, "echo hello").stdout == "You said: hello\n"


def test_send_tells_the_peers_error(server: Process) -> None:
    sent = cli("send", server.url, "hello", "--task", "no-such-task")
    assert sent.returncode == 3
    assert "(TaskNotFound)" in sent.stderr
    assert "Traceback" not in sent.stderr


@pytest.mark.parametrize(
    ("url", "code", "text"),
    [
        ("http://127.0.0.1:1", 3, "cannot connect to 127.0.0.1:1"),
        ("ftp://example.com", 3, "'ftp://example.com' is not an http:// or https:// address"),
        ("127.0.0.1:8000", 3, "'127.0.0.1:8000' is not an http:// or https:// address"),
        ("http://no.such.host.invalid", 3, "cannot connect to no.such.host.invalid:80"),
    ],
)
def test_send_says_why_nobody_is_there(url: str, code: int, text: str) -> None:
    sent = cli("send", url, "hello")
    assert (sent.returncode, text in sent.stderr) == (code, True), sent.stderr
    assert "Traceback" not in sent.stderr


def test_send_prints_a_command_that_runs_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    url, task = "http://a.example/$(id)?b&c", "x; touch pwned '#"
    screen = Screen(url)
    status = t.TaskStatus(state=t.TaskState.INPUT_REQUIRED)
    screen.show_task(t.Task(id=task, context_id="c", status=status))
    assert screen.finish() == 4
    command = capsys.readouterr().err.splitlines()[-1].removeprefix("answer with: ")
    assert shlex.split(command) == ["greenroom", "send", url, "--task", task, "..."]


def test_send_does_not_let_an_agent_control_the_terminal(server: Process) -> None:
    sent = cli("send", server.url, "echo \x1b[2J\x07evil")
    assert sent.stdout == "You said: [2Jevil\n"
