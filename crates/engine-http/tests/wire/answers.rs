//! Heads, versions, errors.

use lighter_harness::Session;
use serde_json::{Value, json};

use crate::both;
use crate::wire::{Wire, ask, create, start};

fn message(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

both! {
    fn ping_tells_clients_what_they_negotiate(session: &Session) {
        for method in ["GET", "HEAD"] {
            let mut wire = Wire::open(session);
            wire.send(&format!("{method} /_ping"), "", "", "");
            let head = wire.head();
            assert_eq!(head.status, "200 OK");
            for (name, value) in [
                ("Api-Version", "1.51"),
                ("Docker-Experimental", "false"),
                ("Ostype", "linux"),
                ("Builder-Version", "2"),
                ("Swarm", "inactive"),
                ("Cache-Control", "no-cache, no-store, must-revalidate"),
                ("Pragma", "no-cache"),
                ("Content-Type", "text/plain; charset=utf-8"),
            ] {
                assert_eq!(head.header(name), Some(value), "{method} {name}");
            }
            if method == "GET" {
                assert_eq!(wire.body(&head), b"OK");
            }
        }
    }

    fn one_connection_serves_many_requests(session: &Session) {
        let mut wire = Wire::open(session);
        // The second is sent before the first is answered.
        wire.send("GET /_ping", "", "", "");
        wire.send("GET /v1.44/containers/json", "", "", "");
        let head = wire.head();
        assert_eq!(wire.body(&head), b"OK");
        let head = wire.head();
        assert_eq!((head.status.as_str(), head.header("Content-Type")), ("200 OK", Some("application/json")));
        assert_eq!(wire.body(&head), b"[]\n");
    }

    fn versions_are_checked(session: &Session) {
        let (head, body) = ask(session, "GET /v1.99/info", "");
        assert_eq!(head.status, "400 Bad Request");
        assert_eq!(
            message(&body),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        let (head, body) = ask(session, "GET /v1.10/info", "");
        assert_eq!(head.status, "400 Bad Request");
        let (head, body_of_1) = ask(session, "GET /v1/info", "");
        assert_eq!(head.status, "400 Bad Request");
        assert!(body_of_1.contains("client version 1 is too old."), "{body_of_1}");
        let (head, _) = ask(session, "OPTIONS /v1.51/info", "");
        assert_eq!(head.status, "200 OK");
        assert!(body.contains("client version 1.10 is too old. Minimum supported API version is 1.24"), "{body}");
        for request in ["GET /vx/info", "GET /nope", "DELETE /info", "POST /_ping", "GET /v1.51/containers"] {
            let (head, body) = ask(session, request, "");
            assert_eq!((head.status.as_str(), message(&body).as_str()), ("404 Not Found", "page not found"), "{request}");
        }
    }

    fn bad_requests_are_refused_in_docker_s_words(session: &Session) {
        let create = "POST /v1.51/containers/create";
        for (request, body, status, expected) in [
            (create, "", "400 Bad Request", "invalid JSON: got EOF while reading request body"),
            (create, "{\"Image\":", "400 Bad Request", "invalid JSON: unexpected EOF"),
            (create, "{}", "400 Bad Request", "config cannot be empty in order to create a container"),
            (create, "{\"Image\":\"nope\"}", "404 Not Found", "No such image: nope:latest"),
            (create, "{\"Image\":\"NOPE\"}", "400 Bad Request", "invalid reference format: repository name (library/NOPE) must be lowercase"),
            ("GET /v1.51/containers/nope/json", "", "404 Not Found", "No such container: nope"),
            ("GET /v1.51/containers/json?filters=x", "", "400 Bad Request", "invalid filter"),
            ("GET /v1.51/containers/nope/logs", "", "400 Bad Request", "Bad parameters: you must choose at least one stream"),
            ("GET /v1.51/images/nope/json", "", "404 Not Found", "No such image: nope:latest"),
            ("POST /v1.51/containers/create?platform=a/b/c/d", "{\"Image\":\"busybox\"}", "400 Bad Request", "\"a/b/c/d\": cannot parse platform specifier: invalid argument"),
            ("GET /v1.51/exec/nope/json", "", "404 Not Found", "No such exec instance: nope"),
            ("POST /v1.51/exec/nope/start", "{}", "404 Not Found", "No such exec instance: nope"),
        ] {
            let (head, answer) = ask(session, request, body);
            assert_eq!((head.status.as_str(), message(&answer).as_str()), (status, expected), "{request} {body}");
        }
        let mut wire = Wire::open(session);
        wire.send(create, "Content-Type: text/plain\r\n", "", "");
        let head = wire.head();
        let body = wire.body(&head);
        assert_eq!(
            message(std::str::from_utf8(&body).unwrap()),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
    }

    fn what_no_container_can_have_is_refused(session: &Session) {
        session.pull("busybox");
        for (wrong, expected) in [
            (json!({"Env": ["=x"]}), "invalid environment variable: =x"),
            (json!({"Healthcheck": {"Interval": 1}}), "Interval in Healthcheck cannot be less than 1ms"),
            (json!({"HostConfig": {"OomScoreAdj": 5000}}), "Invalid value 5000, range for oom score adj is [-1000, 1000]"),
            (json!({"HostConfig": {"Links": ["nosuch:a"]}}), "could not get container for nosuch: No such container: nosuch"),
            (json!({"WorkingDir": "/bin/busybox"}), "Cannot mkdir: /bin/busybox is not a directory"),
        ] {
            let mut request = json!({"Image": "busybox", "Cmd": ["true"]});
            request.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            let (head, body) = ask(session, "POST /v1.51/containers/create", &request.to_string());
            assert!(head.status.starts_with('4') || head.status.starts_with('5'), "{wrong}: {}", head.status);
            assert_eq!(message(&body), expected, "{wrong}: {}", head.status);
        }
    }

    fn that_there_is_no_container_is_said_first(session: &Session) {
        for request in [
            "POST /v1.51/containers/nosuch/update",
            "GET /v1.51/containers/nosuch/stats?stream=0",
            "GET /v1.51/containers/nosuch/changes",
            "GET /v1.51/containers/nosuch/export",
            "GET /v1.51/containers/nosuch/archive?path=/etc",
            "POST /v1.51/commit?container=nosuch",
        ] {
            let body = if request.starts_with("POST") { "{}" } else { "" };
            let (head, answer) = ask(session, request, body);
            assert_eq!(
                (head.status.as_str(), message(&answer).as_str()),
                ("404 Not Found", "No such container: nosuch"),
                "{request}"
            );
        }
    }

    fn an_exec_of_an_unknown_user_is_not_made(session: &Session) {
        let id = create(session, json!({"Image": "busybox", "Cmd": ["sleep", "60"]}));
        start(session, &id);
        let (_, body) = ask(
            session,
            &format!("POST /v1.51/containers/{id}/exec"),
            &json!({"Cmd": ["id"], "User": "nosuch"}).to_string(),
        );
        assert_eq!(message(&body), "unable to find user nosuch: no matching entries in passwd file");
        for body in ["", "{}"] {
            let (head, answer) = ask(session, &format!("POST /v1.51/containers/{id}/exec"), body);
            assert_eq!(
                (head.status.as_str(), message(&answer).as_str()),
                ("400 Bad Request", "No exec command specified")
            );
        }
    }

    fn a_second_start_is_not_modified(session: &Session) {
        let id = create(session, json!({"Image": "busybox", "Cmd": ["sleep", "60"]}));
        start(session, &id);
        let (head, body) = ask(session, &format!("POST /v1.51/containers/{id}/start"), "");
        assert_eq!((head.status.as_str(), body.as_str()), ("304 Not Modified", ""));
    }

    fn names_of_images_may_have_slashes(session: &Session) {
        session.pull("busybox");
        let (head, _) = ask(session, "POST /v1.51/images/busybox/tag?repo=one/two/three&tag=4", "");
        assert_eq!(head.status, "201 Created");
        for name in ["one/two/three:4", "docker.io/one/two/three:4"] {
            let (head, body) = ask(session, &format!("GET /v1.51/images/{name}/json"), "");
            assert_eq!(head.status, "200 OK", "{body}");
        }
        let (head, body) = ask(session, "DELETE /v1.51/images/one/two/three:4", "");
        assert_eq!((head.status.as_str(), body.trim()), ("200 OK", "[{\"Untagged\":\"one/two/three:4\"}]"));
    }
}

/// Of ours only: Docker takes them, or answers with a text.
#[test]
fn what_is_too_large_is_refused_with_a_message() {
    let session = Session::start(lighter_harness::Kind::Lighter, lighter_harness::Client::Stock);
    let long = format!("GET /v1.51/info?x={}", "y".repeat(100_000));
    let (head, body) = ask(&session, &long, "");
    assert_eq!((&head.status[..3], message(&body).is_empty()), ("414", false));
    let mut wire = Wire::open(&session);
    wire.send("GET /v1.51/info", &"A: b\r\n".repeat(300), "", "");
    let head = wire.head();
    let body = wire.body(&head);
    assert_eq!(&head.status[..3], "431");
    assert!(!message(std::str::from_utf8(&body).unwrap()).is_empty());
    let large = json!({"Image": "busybox", "Cmd": ["x".repeat(20 << 20)]}).to_string();
    let (head, body) = ask(&session, "POST /v1.51/containers/create", &large);
    assert_eq!((&head.status[..3], message(&body).is_empty()), ("413", false));
}
