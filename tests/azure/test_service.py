"""azure-iot-hub 2.7, unmodified, as the back end of the hub: registry, twins, methods, queries, jobs."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.azure.conftest import Start
from tests.azure.hub import Hub
from tests.azure.sdk import BackEnd, ProxyProgram, model

pytestmark = pytest.mark.needs("azure-sdks", "mosquitto")

GENERATED = ("", "")
"""Keys that the hub is to make."""
PRIMARY, SECONDARY = "cHJpbWFyeS1rZXktb2YtMzItYnl0ZXMtLi4uLi4uLi4=", "c2Vjb25kYXJ5LWtleS1vZi0zMi1ieXRlcy0uLi4uLi4="


def method(name: str, payload: object = None, response_s: int = 5, connect_s: int = 0) -> dict[str, object]:
    """A direct method call as the SDK takes it."""
    return model(
        "CloudToDeviceMethod",
        method_name=name,
        payload=payload,
        response_timeout_in_seconds=response_s,
        connect_timeout_in_seconds=connect_s,
    )


# Registry


def test_a_device_is_made_read_changed_and_deleted(hub: Hub, back_end: BackEnd) -> None:
    made = back_end.call("create_device_with_sas", "crud", PRIMARY, SECONDARY, "enabled")
    assert made["authentication"]["symmetric_key"] == {"primary_key": PRIMARY, "secondary_key": SECONDARY}
    assert (made["status"], made["connection_state"]) == ("enabled", "Disconnected")
    assert back_end.call("get_device", "crud") == made
    assert hub.device("crud")["status"] == "enabled"

    update = ("update_device_with_sas", "crud")
    changed = back_end.call(*update, made["etag"], SECONDARY, PRIMARY, "disabled", False, "no longer paid for")
    assert changed["status"] == "disabled" and changed["status_reason"] == "no longer paid for"
    assert changed["generation_id"] == made["generation_id"] and changed["etag"] != made["etag"]
    assert hub.device("crud")["status"] == "disabled"

    stale = back_end.refused(*update, made["etag"], PRIMARY, SECONDARY, "enabled")
    assert (stale.status, stale.code) == (412, "PreconditionFailed")
    assert back_end.refused("delete_device", "crud", made["etag"]).status == 412
    taken = back_end.refused("create_device_with_sas", "crud", PRIMARY, SECONDARY, "enabled")
    assert (taken.status, taken.code) == (409, "DeviceAlreadyExists")

    back_end.call("delete_device", "crud", changed["etag"])
    gone = back_end.refused("get_device", "crud")
    assert (gone.status, gone.code) == (404, "DeviceNotFound")
    assert gone.body["Message"].startswith("ErrorCode:DeviceNotFound;")
    assert not hub.knows("crud")

    again = back_end.call("create_device_with_sas", "crud", PRIMARY, SECONDARY, "enabled")
    assert again["generation_id"] != made["generation_id"]


def test_the_hub_makes_keys_and_the_device_can_use_them(hub: Hub, back_end: BackEnd, start: Start) -> None:
    keys = back_end.call("create_device_with_sas", "keyless", *GENERATED, "enabled")["authentication"]["symmetric_key"]
    for key in (keys["primary_key"], keys["secondary_key"]):
        client = start("telemetry", DEVICE_CONNECTION_STRING=hub.connection_string("keyless", key))
        assert client.events()[-1]["event"] == "ended"
    assert hub.logins("keyless") == [0, 0]


def test_devices_with_certificates_are_registered_as_such(back_end: BackEnd) -> None:
    thumbprint = "0123456789ABCDEF0123456789ABCDEF01234567"
    signed = back_end.call("create_device_with_x509", "self-signed", thumbprint, None, "enabled")
    assert signed["authentication"]["type"] == "selfSigned"
    assert signed["authentication"]["x509_thumbprint"]["primary_thumbprint"] == thumbprint
    vouched = back_end.call("create_device_with_certificate_authority", "ca-signed", "enabled")
    assert vouched["authentication"]["type"] == "certificateAuthority"


def test_many_devices_at_once(hub: Hub, back_end: BackEnd) -> None:
    ids = [f"bulk-{number}" for number in range(20)]
    many = [model("ExportImportDevice", id=each, import_mode="create", status="enabled") for each in ids]
    assert back_end.call("bulk_create_or_update_devices", many)["is_successful"] is True
    listed = back_end.call("get_devices", 1000)
    assert set(ids) <= {device["device_id"] for device in listed}
    assert len(back_end.call("get_devices", 5)) == 5
    counts = back_end.call("get_device_registry_statistics")
    assert counts["total_device_count"] >= len(ids)
    assert counts["total_device_count"] == counts["enabled_device_count"] + counts["disabled_device_count"]
    assert all(hub.knows(each) for each in ids)

    removal = [model("ExportImportDevice", id=each, import_mode="delete") for each in ids]
    assert back_end.call("bulk_create_or_update_devices", removal)["is_successful"] is True
    assert not any(hub.knows(each) for each in ids)


def test_a_device_that_is_disabled_is_cut_off_and_stays_away(hub: Hub, back_end: BackEnd, start: Start) -> None:
    device = start("device", DEVICE_CONNECTION_STRING=hub.produce("disabled"))
    device.next("ready")
    assert back_end.call("get_device", "disabled")["connection_state"] == "Connected"
    assert back_end.call("get_service_statistics")["connected_device_count"] >= 1
    back_end.call("update_device_with_sas", "disabled", None, PRIMARY, SECONDARY, "disabled")
    assert device.next("connection")["connected"] is False
    assert device.next("background")["error"]
    assert hub.ends("disabled")[0] == "disabled"
    assert hub.logins("disabled") == [0, 5]
    assert back_end.call("get_device", "disabled")["connection_state"] == "Disconnected"


def test_a_back_end_without_a_policy_of_the_hub_is_refused(hub: Hub, proxy: ProxyProgram) -> None:
    hub.produce("guarded")
    with BackEnd(hub.service_connection_string.replace("iothubowner", "nobody"), proxy.environment) as stranger:
        refused = stranger.refused("get_device", "guarded")
        assert (refused.status, refused.code) == (401, "IotHubUnauthorizedAccess")


# Twins


def test_a_twin_is_changed_by_the_service_and_reaches_the_device(hub: Hub, back_end: BackEnd, start: Start) -> None:
    keys = back_end.call("create_device_with_sas", "twinned", *GENERATED, "enabled")["authentication"]["symmetric_key"]
    new = back_end.call("get_twin", "twinned")
    assert (new["etag"], new["version"]) == ("AAAAAAAAAAE=", 2)
    assert new["properties"]["desired"]["$version"] == new["properties"]["reported"]["$version"] == 1

    device = start("device", DEVICE_CONNECTION_STRING=hub.connection_string("twinned", keys["primary_key"]))
    device.next("ready")
    properties = model("TwinProperties", desired={"interval_s": 30, "led": {"colour": "red"}})
    patched = back_end.call("update_twin", "twinned", model("Twin", tags={"site": "A"}, properties=properties))
    assert patched["tags"] == {"site": "A"} and patched["properties"]["desired"]["$version"] == 2
    assert "$lastUpdatedVersion" in patched["properties"]["desired"]["$metadata"]["interval_s"]
    pushed = device.next("desired")["patch"]
    assert pushed == {"interval_s": 30, "led": {"colour": "red"}, "$version": 2}

    assert hub.call_method("twinned", "report", {"interval_s": 30}) == (200, None)
    seen = back_end.call("get_twin", "twinned")
    assert seen["properties"]["reported"]["interval_s"] == 30 and seen["etag"] == patched["etag"]
    assert seen["connection_state"] == "Connected"

    removal = model("Twin", properties=model("TwinProperties", desired={"led": None}))
    stale = back_end.refused("update_twin", "twinned", removal, new["etag"])
    assert (stale.status, stale.code) == (412, "PreconditionFailed")
    current = back_end.call("update_twin", "twinned", removal, patched["etag"])
    assert "led" not in current["properties"]["desired"]
    assert device.next("desired")["patch"] == {"led": None, "$version": 3}

    replaced = model("Twin", tags={"site": "B"}, properties=model("TwinProperties", desired={"only": True}))
    whole = back_end.call("replace_twin", "twinned", replaced)
    assert whole["tags"] == {"site": "B"} and "interval_s" not in whole["properties"]["desired"]
    assert hub.desired("twinned") == {"only": True}
    hub.call_method("twinned", "stop")


def test_the_twin_of_nobody_is_not_found(back_end: BackEnd) -> None:
    assert back_end.refused("get_twin", "nobody-at-all").status == 404


# Methods


def test_a_method_and_the_answers_that_a_device_does_not_give(hub: Hub, back_end: BackEnd, start: Start) -> None:
    device = start("device", DEVICE_CONNECTION_STRING=hub.produce("called"))
    device.next("ready")
    done = back_end.call("invoke_device_method", "called", method("Reboot", {"in_s": 3}))
    assert done == {"status": 207, "payload": {"name": "Reboot", "payload": {"in_s": 3}}}
    assert device.next("method")["payload"] == {"in_s": 3}

    silent = back_end.refused("invoke_device_method", "called", method("ignore"))
    assert (silent.status, silent.error_code) == (504, 504101)
    out_of_range = back_end.refused("invoke_device_method", "called", method("Reboot", response_s=4))
    assert (out_of_range.status, out_of_range.error_code) == (400, 400004)
    assert back_end.refused("invoke_device_method", "nobody-at-all", method("Reboot")).status == 404

    hub.call_method("called", "stop")
    device.events()
    offline = back_end.refused("invoke_device_method", "called", method("Reboot"))
    assert (offline.status, offline.error_code) == (404, 404103)


def test_a_method_can_wait_for_its_device(hub: Hub, back_end: BackEnd, start: Start) -> None:
    connection_string = hub.produce("awaited")
    with ThreadPoolExecutor() as caller:
        call = caller.submit(back_end.call, "invoke_device_method", "awaited", method("hello", connect_s=20))
        device = start("device", DEVICE_CONNECTION_STRING=connection_string)
        assert call.result(timeout=20)["status"] == 207
    device.next("ready")
    hub.call_method("awaited", "stop")


# Queries and jobs


def test_a_query_gives_its_answer_in_pages(back_end: BackEnd) -> None:
    for number in range(5):
        device_id = f"asked-{number}"
        back_end.call("create_device_with_sas", device_id, *GENERATED, "enabled")
        back_end.call("update_twin", device_id, model("Twin", tags={"floor": number, "house": "query"}))
    query = model("QuerySpecification", query="SELECT * FROM devices WHERE tags.house = 'query' AND tags.floor >= 1")
    pages: list[list[str]] = []
    token = None
    while not pages or token:
        page = back_end.call("query_iot_hub", query, token, 3)
        assert page["type"].lower() == "twin"
        pages.append([twin["device_id"] for twin in page["items"]])
        token = page["continuation_token"]
    assert [len(page) for page in pages] == [3, 1]
    assert sorted(device_id for page in pages for device_id in page) == [f"asked-{number}" for number in range(1, 5)]
    nonsense = model("QuerySpecification", query="SELECT FROM WHERE")
    assert back_end.refused("query_iot_hub", nonsense).status == 400


def test_a_job_changes_the_twins_that_its_condition_names(hub: Hub, back_end: BackEnd) -> None:
    for number in range(3):
        back_end.call("create_device_with_sas", f"job-{number}", *GENERATED, "enabled")
    update = model("Twin", etag="*", properties=model("TwinProperties", desired={"by": "job"}))
    condition = "deviceId IN ['job-0', 'job-2']"
    request = model(
        "JobRequest",
        job_id="twins",
        type="scheduleUpdateTwin",
        update_twin=update,
        query_condition=condition,
        max_execution_time_in_seconds=60,
    )
    job = back_end.call("create_scheduled_job", "twins", request)
    assert (job["job_id"], job["type"]) == ("twins", "scheduleUpdateTwin")
    for _ in range(100):
        job = back_end.call("get_scheduled_job", "twins")
        if job["status"] == "completed":
            break
    assert job["status"] == "completed" and job["device_job_statistics"]["succeeded_count"] == 2
    assert [hub.desired(f"job-{number}") for number in range(3)] == [{"by": "job"}, {}, {"by": "job"}]
