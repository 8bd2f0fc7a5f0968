//! What stands in the headers of a request.

use lighter_containerd::identifier;
use lighter_containerd_api::{LEASE_HEADER, NAMESPACE_HEADER};
use tonic::{Request, Status};

use crate::error::{Result, status};

/// The namespace that a request works in.
pub(crate) fn namespace<T>(request: &Request<T>) -> Result<String> {
    let Some(value) = header(request, NAMESPACE_HEADER) else {
        return Err(Status::failed_precondition(
            "namespace is required: failed precondition",
        ));
    };
    identifier::check("namespace", value).map_err(status)?;
    Ok(value.to_owned())
}

/// The lease that a request puts what it makes under, if any.
pub(crate) fn lease<T>(request: &Request<T>) -> Option<String> {
    header(request, LEASE_HEADER).map(str::to_owned)
}

fn header<'a, T>(request: &'a Request<T>, name: &str) -> Option<&'a str> {
    let value = request.metadata().get(name)?.to_str().ok()?;
    (!value.is_empty()).then_some(value)
}
