//! What is wrong is refused in Docker's words, and leaves nothing behind.

use lighter_harness::{Session, sessions};

fn message(answer: &(u16, String)) -> String {
    let body: serde_json::Value =
        serde_json::from_str(&answer.1).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    body["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no message in {answer:?}"))
        .to_owned()
}

#[track_caller]
fn refused(session: &Session, method: &str, path: &str, body: &str, status: u16, words: &str) {
    let answer = session.api_with(method, path, body);
    assert_eq!(answer.0, status, "{method} {path}: {answer:?}");
    assert!(
        message(&answer).contains(words),
        "{method} {path}: {words:?} is not in {answer:?}"
    );
}

sessions! {
    fn unknown_things_are_404(session: &Session) {
        for (method, path, words) in [
            ("GET", "/v1.51/containers/nobody/json", "No such container: nobody"),
            ("POST", "/v1.51/containers/nobody/start", "No such container: nobody"),
            ("DELETE", "/v1.51/containers/nobody", "No such container: nobody"),
            ("POST", "/v1.51/containers/nobody/exec", "No such container: nobody"),
            ("GET", "/v1.51/images/nothing/json", "No such image: nothing:latest"),
            ("DELETE", "/v1.51/images/nothing", "No such image: nothing:latest"),
            ("GET", "/v1.51/exec/nothing/json", "No such exec instance: nothing"),
            ("GET", "/v1.51/no/such/page", "page not found"),
        ] {
            let body = if path.ends_with("/exec") { "{\"Cmd\":[\"true\"]}" } else { "" };
            refused(session, method, path, body, 404, words);
        }
        refused(session, "POST", "/v1.51/containers/create", "{\"Image\":\"nothing\"}", 404, "No such image: nothing:latest");
    }

    fn a_bad_request_is_400(session: &Session) {
        session.pull("busybox");
        let create = "/v1.51/containers/create";
        refused(session, "POST", create, "{\"Image\":", 400, "");
        refused(session, "POST", create, "{\"Image\": 7}", 400, "");
        refused(session, "POST", create, "{\"Image\": \"busybox\", \"Cmd\": {\"a\": 1}}", 400, "");
        refused(session, "POST", create, "{\"Image\": \"Not A Name\"}", 400, "invalid reference format");
        refused(session, "POST", "/v1.51/containers/create?name=-x", "{\"Image\": \"busybox\"}", 400, "Invalid container name (-x)");
        // Docker answers this old a client in plain text, as such a client expects.
        let old = session.api("GET", "/v1.10/containers/json");
        assert!(old.0 == 400 && old.1.contains("client version 1.10 is too old"), "{old:?}");
        refused(session, "GET", "/v1.99/containers/json", "", 400, "client version 1.99 is too new. Maximum supported API version is 1.51");
        assert_eq!(session.docker(&["ps", "-aq"]).ok(), "");
    }

    fn json_is_read_by_gos_rules(session: &Session) {
        session.pull("busybox");
        // Keys in any case, a word for a list, null for anything, unknown fields.
        let body = "{\"image\": \"busybox\", \"CMD\": \"true\", \"Env\": null, \"HostConfig\": null, \"NoSuchField\": {\"x\": [1]}}";
        let answer = session.api_with("POST", "/v1.51/containers/create?name=cc", body);
        assert_eq!(answer.0, 201, "{answer:?}");
        assert_eq!(session.inspect("cc", "{{json .Config.Cmd}}"), "[\"true\"]");
    }

    fn pull_failures_are_clear(session: &Session) {
        let absent = session.docker(&["pull", "127.0.0.1:5000/library/busybox:no-such-tag"]).fails(1);
        assert!(absent.contains("manifest for 127.0.0.1:5000/library/busybox:no-such-tag not found: manifest unknown: manifest unknown"), "{absent}");
        let unknown = session.docker(&["pull", "127.0.0.1:5000/no/such/image"]).fails(1);
        assert!(unknown.contains("manifest for 127.0.0.1:5000/no/such/image:latest not found") || unknown.contains("not found: name unknown") || unknown.contains("does not exist"), "{unknown}");
        let down = session.docker(&["pull", "127.0.0.1:5001/x"]).fails(1);
        assert!(down.contains("connection refused"), "{down}");
        let name = session.docker(&["pull", "UPPER"]).fails(1);
        assert!(name.contains("must be lowercase"), "{name}");
        let digest = format!("127.0.0.1:5000/library/busybox@sha256:{}", "0".repeat(64));
        let digest = session.docker(&["pull", &digest]).fails(1);
        assert!(digest.contains("not found") || digest.contains("manifest unknown"), "{digest}");
        assert_eq!(session.docker(&["image", "ls", "-q"]).ok(), "");
    }

    fn the_wrong_kind_of_program_does_not_run(session: &Session) {
        session.pull("busybox");
        let dir = session.host.dir().join("programs");
        std::fs::create_dir_all(&dir).expect("a directory");
        let program = |name: &str, bytes: &[u8]| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(dir.join(name), bytes).expect("a file");
            std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        };
        // An ELF header of AArch64, and a script whose interpreter is not there.
        let mut elf = std::fs::read("/bin/busybox").expect("busybox");
        elf[18] = 183;
        program("foreign", &elf);
        program("script", b"#!/no/such/interpreter\n");
        let volume = format!("{}:/p", dir.display());
        let foreign = session.docker(&["run", "--rm", "-v", &volume, "busybox", "/p/foreign"]);
        assert!(foreign.stderr.contains("exec format error"), "{foreign}");
        assert!(foreign.code == 255 || foreign.code == 126 || foreign.code == 1, "{foreign}");
        let script = session.docker(&["run", "--rm", "-v", &volume, "busybox", "/p/script"]);
        assert!(script.stderr.contains("no such file or directory"), "{script}");
        assert!(script.code == 127 || script.code == 255, "{script}");
        assert_eq!(session.docker(&["ps", "-aq"]).ok(), "");
    }
}
