//! Bodies as real clients write them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use lighter_engine_api::{ContainerCreateRequest, ContainerSummary, HostConfig, go};

fn create(body: &str) -> ContainerCreateRequest {
    go::from_slice(body.as_bytes()).unwrap()
}

fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(body: &str) -> String {
    go::from_slice::<T>(body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn keys_match_in_any_case_and_unknown_ones_are_ignored() {
    let request =
        create(r#"{"image":"busybox","ENV":["A=b"],"hostconfig":{"AUTOREMOVE":true},"Nope":{"x":[1]}}"#);
    assert_eq!(request.config.image, "busybox");
    assert_eq!(request.config.env.unwrap(), ["A=b"]);
    assert!(request.host_config.auto_remove);
}

#[test]
fn an_exact_key_wins_over_another_case_of_it() {
    assert_eq!(create(r#"{"Image":"a","image":"b"}"#).config.image, "a");
}

#[test]
fn null_is_the_zero_value_of_anything() {
    let request = create(
        r#"{"Image":null,"Tty":null,"Env":null,"Labels":null,"Cmd":null,"HostConfig":null,"NetworkingConfig":null}"#,
    );
    assert_eq!(request, ContainerCreateRequest::default());
    let host: HostConfig =
        go::from_slice(br#"{"Memory":null,"ConsoleSize":null,"RestartPolicy":null,"Binds":[null]}"#).unwrap();
    assert_eq!(
        host,
        HostConfig {
            binds: Some(vec![String::new()]),
            ..HostConfig::default()
        }
    );
    let summary: ContainerSummary = go::from_slice(br#"{"Labels":null,"Ports":null,"Names":null}"#).unwrap();
    assert_eq!(summary, ContainerSummary::default());
}

#[test]
fn a_command_may_be_one_string() {
    let request = create(r#"{"Cmd":"ls","Entrypoint":"/bin/x","HostConfig":{"CapAdd":"ALL"}}"#);
    assert_eq!(request.config.cmd.unwrap(), ["ls"]);
    assert_eq!(request.config.entrypoint.unwrap(), ["/bin/x"]);
    assert_eq!(request.host_config.cap_add.unwrap(), ["ALL"]);
}

#[test]
fn an_empty_list_is_not_null() {
    let host: HostConfig = go::from_slice(br#"{"Dns":[],"CapDrop":null}"#).unwrap();
    assert_eq!((host.dns, host.cap_drop), (Some(vec![]), None));
}

#[test]
fn short_arrays_are_filled_and_long_ones_cut() {
    for (body, size) in [("[7]", [7, 0]), ("[1,2,3]", [1, 2]), ("[]", [0, 0])] {
        let host: HostConfig = go::from_slice(format!(r#"{{"ConsoleSize":{body}}}"#).as_bytes()).unwrap();
        assert_eq!(host.console_size, size);
    }
}

#[test]
fn a_port_map_keeps_its_nulls() {
    let host: HostConfig =
        go::from_slice(br#"{"PortBindings":{"80/tcp":[{"HostPort":"8080"}],"81/tcp":null}}"#).unwrap();
    let ports = host.port_bindings.unwrap();
    assert_eq!(ports["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
    assert_eq!(ports["81/tcp"], None);
}

#[test]
fn a_create_request_survives_the_way_to_the_server() {
    let mut request =
        create(r#"{"Image":"busybox","Cmd":["ls"],"HostConfig":{"Binds":["/a:/b"],"Memory":5}}"#);
    request.networking_config.endpoints_config = Some([("x".to_owned(), Default::default())].into());
    let sent = serde_json::to_vec(&request).unwrap();
    assert_eq!(go::from_slice::<ContainerCreateRequest>(&sent).unwrap(), request);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(
        refused::<ContainerCreateRequest>(""),
        "invalid JSON: got EOF while reading request body"
    );
    assert_eq!(
        refused::<ContainerCreateRequest>(r#"{"Image":"#),
        "invalid JSON: unexpected EOF"
    );
    assert_eq!(
        refused::<ContainerCreateRequest>(r#"{"Image":"x"}{"#),
        "unexpected content after JSON"
    );
    let wrong = refused::<ContainerCreateRequest>(r#"{"HostConfig":{"Memory":"x"}}"#);
    assert!(
        wrong.contains("HostConfig.Memory: invalid type: string \"x\""),
        "{wrong}"
    );
    let wrong = refused::<ContainerCreateRequest>(r#"{"Cmd":{"a":1}}"#);
    assert!(
        wrong.contains("Cmd: expected a string or a list of strings"),
        "{wrong}"
    );
    assert!(refused::<ContainerCreateRequest>("[]").starts_with("invalid JSON: "));
}

#[test]
fn times_are_printed_as_go_prints_them() {
    for text in [
        "2026-11-24T09:03:35.162484714Z",
        "2026-11-24T09:03:35.1624Z",
        "2026-11-24T09:03:35Z",
    ] {
        assert_eq!(go::time(text.parse().unwrap()), text);
    }
}
