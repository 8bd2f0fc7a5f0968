//! Images: pull, list, remove.

use lighter_harness::{Session, sessions};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

sessions! {
    fn pull_prints_layers_digest_and_status(session: &Session) {
        let text = session.docker(&["image", "pull", "web"]).ok();
        let text = lines(&text);
        // Off a terminal the client prints each line once; the layers' lines come in the order of events.
        assert_eq!(text[0], "Using default tag: latest");
        assert_eq!(text[1], "latest: Pulling from library/web");
        for word in ["Pulling fs layer", "Download complete", "Pull complete"] {
            assert_eq!(text.iter().filter(|line| line.ends_with(word)).count(), 2, "{word} in {text:?}");
        }
        let tail = &text[text.len() - 3..];
        assert!(tail[0].starts_with("Digest: sha256:") && tail[0].len() == "Digest: sha256:".len() + 64, "{tail:?}");
        assert_eq!(tail[1], "Status: Downloaded newer image for web:latest");
        assert_eq!(tail[2], "docker.io/library/web:latest");

        let again = session.docker(&["image", "pull", "web:latest"]).ok();
        assert!(again.contains("Status: Image is up to date for web:latest"), "{again}");
        assert!(!again.contains("Using default tag"), "{again}");
    }

    fn a_shared_layer_already_exists(session: &Session) {
        session.pull("busybox");
        let text = session.docker(&["pull", "web"]).ok();
        assert_eq!(text.lines().filter(|line| line.ends_with(": Already exists")).count(), 1, "{text}");
        assert_eq!(text.lines().filter(|line| line.ends_with(": Pull complete")).count(), 1, "{text}");
    }

    fn pull_by_digest(session: &Session) {
        session.pull("busybox");
        let digests = session.docker(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", "busybox"]).ok();
        let digest = digests.split_once('@').expect("a digest").1.to_owned();
        session.docker(&["image", "rm", "busybox"]).ok();
        let text = session.docker(&["pull", &format!("busybox@{digest}")]).ok();
        assert!(text.contains(&format!("Digest: {digest}")), "{text}");
        assert_eq!(session.docker(&["run", "--rm", &format!("busybox@{digest}"), "echo", "hi"]).ok(), "hi");
    }

    fn an_index_is_pulled_for_this_platform(session: &Session) {
        session.pull("ubuntu");
        assert_eq!(session.docker(&["image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", "ubuntu"]).ok(), "linux/amd64");
        assert_eq!(session.docker(&["run", "--rm", "ubuntu", "sh", "-c", "echo $0 in $(. /etc/os-release; echo $ID)"]).ok(), "sh in debian");
    }

    fn list_and_remove(session: &Session) {
        session.pull("busybox");
        session.pull("busybox:1");
        let table = session.docker(&["image", "ls"]).ok();
        let header: Vec<&str> = table.lines().next().expect("a header").split_whitespace().collect();
        assert_eq!(header, ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]);
        let row: Vec<&str> = table.lines().find(|line| line.contains("latest")).expect("a row").split_whitespace().collect();
        assert_eq!((row[0], row[1], row[2].len()), ("busybox", "latest", 12));
        let id = session.docker(&["image", "ls", "-q", "--no-trunc", "busybox:latest"]).ok();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(session.docker(&["image", "inspect", "--format", "{{.Id}}", "busybox:1"]).ok(), id);

        // Two tags, one image: the first removal only unties a name.
        assert_eq!(session.docker(&["image", "rm", "busybox:1"]).ok(), "Untagged: busybox:1");
        let removed = session.docker(&["image", "rm", "busybox"]).ok();
        assert!(removed.starts_with("Untagged: busybox:latest\nUntagged: busybox@sha256:"), "{removed}");
        assert!(removed.contains(&format!("Deleted: {id}")), "{removed}");
        assert_eq!(session.docker(&["image", "ls", "-q"]).ok(), "");
    }

    fn an_image_in_use_stays(session: &Session) {
        session.pull("busybox");
        let container = session.docker(&["create", "--name", "user", "busybox", "true"]).ok();
        let error = session.docker(&["image", "rm", "busybox"]).fails(1);
        let id = session.docker(&["image", "inspect", "--format", "{{.Id}}", "busybox"]).ok();
        let short = id.trim_start_matches("sha256:").get(..12).expect("an id").to_owned();
        assert!(error.contains(&format!(
            "conflict: unable to remove repository reference \"busybox\" (must force) - container {} is using its referenced image {short}",
            &container[..12]
        )), "{error}");
        assert_eq!(session.docker(&["run", "--rm", "busybox", "echo", "still"]).ok(), "still");
        session.docker(&["rm", "user"]).ok();
        session.docker(&["image", "rm", "busybox"]).ok();
    }

    fn run_pulls_what_is_not_there(session: &Session) {
        let output = session.docker(&["run", "--rm", "busybox", "echo", "pulled"]);
        assert!(output.stderr.starts_with("Unable to find image 'busybox:latest' locally\n"), "{output}");
        assert!(output.stderr.contains("Status: Downloaded newer image for busybox:latest"), "{output}");
        assert_eq!(output.ok(), "pulled");
    }

    fn a_users_image_and_a_registrys_own_name(session: &Session) {
        session.pull("someone/tool:v2");
        session.pull("127.0.0.1:5000/library/alpine");
        let names = session.docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["127.0.0.1:5000/library/alpine:latest", "someone/tool:v2"]);
        assert_eq!(session.docker(&["run", "--rm", "127.0.0.1:5000/library/alpine", "cat", "/etc/hostname"]).code, 0);
    }
}
