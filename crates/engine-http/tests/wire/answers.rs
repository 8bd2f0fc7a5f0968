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
