//! What Docker 28.5.2 answered on a Linux machine (`captures/`), read into our types and written again: not a byte may
//! differ, so keys, their order, `null`, `[]` and what is left out are all Docker's.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use lighter_engine_api as api;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn comes_back<T: Serialize + DeserializeOwned>(captured: &str) {
    for line in captured.lines().filter(|line| !line.is_empty()) {
        let read: T = api::go::from_slice(line.as_bytes()).unwrap();
        // Docker escapes `<` and `>` in progress streams, and nowhere else.
        let expected = line.replace("\\u003e", ">").replace("\\u003c", "<");
        assert_eq!(serde_json::to_string(&read).unwrap(), expected);
    }
}

macro_rules! captures {
    ($($test:ident: $type:ty = $file:literal;)*) => {$(
        #[test]
        fn $test() {
            comes_back::<$type>(include_str!(concat!("captures/", $file)));
        }
    )*};
}

captures! {
    container_inspect: api::ContainerInspectResponse = "container-inspect.json";
    container_inspect_with_a_terminal: api::ContainerInspectResponse = "container-inspect-tty.json";
    container_list: Vec<api::ContainerSummary> = "container-list.json";
    image_inspect: api::ImageInspect = "image-inspect.json";
    image_list: Vec<api::ImageSummary> = "image-list.json";
    image_history: Vec<api::HistoryResponseItem> = "image-history.json";
    pull: api::JsonMessage = "pull.jsonl";
    events: api::EventMessage = "events.jsonl";
    info: api::SystemInfo = "info.json";
    version: api::SystemVersion = "version.json";
    disk_usage: api::DiskUsage = "disk-usage.json";
    exec_that_runs: api::ExecInspectResponse = "exec-running.json";
    exec_that_ended: api::ExecInspectResponse = "exec-done.json";
    top: api::ContainerTopResponse = "top.json";
    network: api::NetworkResource = "network-bridge.json";
    volume_list: api::VolumeListResponse = "volume-list.json";
}
