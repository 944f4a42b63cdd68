import pytest

from lab.container import UnreadableSecret, environment, own_name, replica
from lab.state.url import parse


@pytest.fixture
def secrets(tmp_path):
    return tmp_path


def completed(secrets, name="lab-redis-1", **given):
    return environment(given, secrets=secrets, name=name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kernel-lab-replicas-1.kernel-lab_workers", "r0"),
        ("kernel-lab-replicas-12.kernel-lab_workers", "r11"),
        ("kernel_lab_memory-4_1", "r0"),
        ("3f2cd50b7342", "3f2cd50b7342"),
        ("replicas-0", "replicas-0"),
        ("web.example.org", "web"),
    ],
)
def test_a_replica_is_named_after_its_container(name, expected):
    assert replica(name) == expected


def test_a_replica_that_was_named_keeps_its_name(secrets):
    assert completed(secrets, LAB_REPLICA="r7")["LAB_REPLICA"] == "r7"


def test_an_empty_name_is_none(secrets):
    assert completed(secrets, LAB_REPLICA="")["LAB_REPLICA"] == "r0"


def test_every_machine_has_a_name_for_its_container():
    assert own_name()


def test_a_secret_is_read_from_its_file_without_the_line_end(secrets):
    (secrets / "weaver_kernel_secret").write_text("from a file\n")
    assert completed(secrets)["WEAVER_KERNEL_SECRET"] == "from a file"


def test_the_environment_goes_before_the_file(secrets):
    (secrets / "weaver_kernel_secret").write_text("from a file\n")
    assert completed(secrets, WEAVER_KERNEL_SECRET="given")["WEAVER_KERNEL_SECRET"] == "given"


def test_without_a_secret_the_worker_is_left_to_refuse(secrets):
    (secrets / "weaver_kernel_secret").touch()
    assert completed(secrets, WEAVER_KERNEL_SECRET="")["WEAVER_KERNEL_SECRET"] == ""


def test_a_secret_that_cannot_be_read_is_one_line_that_says_who_must(secrets):
    (secrets / "weaver_kernel_secret").mkdir()
    with pytest.raises(UnreadableSecret, match=r"weaver_kernel_secret: .* must be able to read it"):
        completed(secrets)


STATE = "redis://:{store_password}@store:6379/0?namespace=redis"


@pytest.mark.parametrize("password", ["plain", "with /, @, :, ?, # and %", "ünïcode"])
def test_a_password_reaches_the_state_as_it_was_given(secrets, password):
    env = completed(secrets, LAB_STATE=STATE, LAB_STORE_PASSWORD=password)
    url = parse(env["LAB_STATE"])
    assert url.rest == f":{password}@store:6379/0"
    assert url.parameters == {"namespace": "redis"}


def test_a_password_is_read_from_its_file(secrets):
    (secrets / "store_password").write_text("from a file\n")
    assert ":from%20a%20file@" in completed(secrets, LAB_STATE=STATE)["LAB_STATE"]


def test_without_a_password_the_one_is_read_that_the_store_has_drawn(secrets):
    drawn = secrets / "password"
    drawn.write_text("drawn")
    env = environment({"LAB_STATE_LIMITER": STATE}, secrets=secrets / "none", name="r", drawn=drawn)
    assert env["LAB_STATE_LIMITER"] == STATE.format(store_password="drawn")


def test_a_state_that_needs_a_password_is_refused_where_nobody_gave_one(secrets):
    with pytest.raises(UnreadableSecret, match=r"^LAB_STATE: needs the store's password; LAB_STORE_PASSWORD"):
        completed(secrets, LAB_STATE=STATE, WEAVER_KERNEL_SECRET="s")


def test_the_password_itself_does_not_reach_the_worker(secrets):
    assert "LAB_STORE_PASSWORD" not in completed(secrets, LAB_STORE_PASSWORD="p")
