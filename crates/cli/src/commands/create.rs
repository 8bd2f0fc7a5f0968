//! Making a container: what `run` and `create` share.

use std::fs::File;
use std::io::Write as _;

use lighter_client::Error;
use lighter_engine_api::ContainerCreateRequest;
use lighter_oci::Reference;

use super::images::{Pull, pull};
use crate::args::Parsed;
use crate::context::Context;
use crate::failure::Failure;
use crate::{options, output, terminal};

/// A made container.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) id: String,
    pub(super) request: ContainerCreateRequest,
}

/// Reads the flags. What is wrong is told with an offer of help.
pub(super) fn request(
    context: &Context,
    parsed: &Parsed,
    command: &str,
) -> Result<ContainerCreateRequest, Failure> {
    let wrong = |message: String| with_help(context, Failure::new(message), command);
    let pull = parsed.text("pull");
    if !matches!(pull, "" | "always" | "missing" | "never") {
        return Err(wrong(format!(
            "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    platform(parsed.text("platform")).map_err(wrong)?;
    options::request(&context.environment, parsed).map_err(wrong)
}

/// Checks `os[/architecture[/variant]]` as containerd reads it.
fn platform(text: &str) -> Result<(), String> {
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    match text
        .splitn(4, '/')
        .find(|part| !text.is_empty() && !is_name(part))
    {
        Some(part) => Err(format!(
            "error parsing specified platform: \"{part}\" is an invalid component of \"{text}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
        )),
        None => Ok(()),
    }
}

/// Puts the program's name before a failure and an offer of help after it; exit code 125.
pub(super) fn with_help(context: &Context, mut failure: Failure, command: &str) -> Failure {
    let program = context.program();
    failure.message = format!(
        "{program}: {}\n\nRun '{program} {command} --help' for more information",
        failure.message
    );
    failure.code = 125;
    failure
}

/// Makes the container, pulling its image when it is missing (or must be new). Warnings go to standard error.
pub(super) fn create(
    context: &Context,
    parsed: &Parsed,
    mut request: ContainerCreateRequest,
) -> Result<Created, Failure> {
    let cidfile = parsed.some("cidfile").map(CidFile::create).transpose()?;
    let client = context.client()?;
    let image = request.config.image.clone();
    let reference = Reference::parse(&image).map(Reference::or_latest);
    // A name in hexadecimal may be an image's id: only the engine knows.
    let reference = match reference {
        Ok(reference) => Some(reference),
        Err(error) if is_id(&image) => {
            drop(error);
            None
        }
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    if let Some((rows, columns)) = terminal::size() {
        request.host_config.console_size = [rows.into(), columns.into()];
    }
    let (name, platform) = (parsed.text("name"), parsed.text("platform"));
    let pulled = |reference: &Reference| {
        pull(
            context,
            &Pull {
                reference: reference.clone(),
                platform: platform.to_owned(),
                quiet: parsed.is("quiet"),
                to_stderr: true,
            },
        )
    };
    if parsed.text("pull") == "always"
        && let Some(reference) = &reference
    {
        pulled(reference)?;
    }
    let made = client.container_create(name, platform, &request);
    let made = match (made, &reference) {
        (Err(error), Some(reference))
            if no_image(&error) && matches!(parsed.text("pull"), "" | "missing") =>
        {
            if !parsed.is("quiet") {
                let name = reference.familiar();
                output::error(format!("Unable to find image '{name}' locally\n"));
            }
            pulled(reference)?;
            client.container_create(name, platform, &request)
        }
        (made, _) => made,
    };
    let made = made?;
    for warning in &made.warnings {
        output::error(format!("WARNING: {warning}\n"));
    }
    if let Some(cidfile) = cidfile {
        cidfile.write(&made.id)?;
    }
    Ok(Created { id: made.id, request })
}

fn is_id(image: &str) -> bool {
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn no_image(error: &Error) -> bool {
    error.is_not_found()
        && error
            .engine_message()
            .is_some_and(|message| message.starts_with("No such image"))
}

/// The file of `--cidfile`; one that was not written is removed.
struct CidFile {
    path: String,
    file: Option<File>,
}

impl CidFile {
    fn create(path: &str) -> Result<CidFile, Failure> {
        if std::path::Path::new(path).exists() {
            return Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )));
        }
        let file = File::create(path)
            .map_err(|error| Failure::new(format!("failed to create the container ID file: {error}")))?;
        Ok(CidFile {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        let mut file = self.file.take();
        let written = file.as_mut().map_or(Ok(()), |file| file.write_all(id.as_bytes()));
        written.map_err(|error| {
            Failure::new(format!(
                "failed to write the container ID ({id}) to file: {error}"
            ))
        })
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: it is empty and ours.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
