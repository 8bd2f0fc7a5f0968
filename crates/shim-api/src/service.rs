//! Names of services and of the types that travel inside an [`Any`](crate::Any).

/// The task service of containerd 1.x.
pub const TASK_V2: &str = "containerd.task.v2.Task";
/// The task service of containerd 2.x: the same methods and messages.
pub const TASK_V3: &str = "containerd.task.v3.Task";
/// The sandbox service of containerd 2.x, for shims that keep a pod ([`crate::sandbox`]).
pub const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";
/// Where a shim sends its events.
pub const EVENTS: &str = "containerd.services.events.ttrpc.v1.Events";
/// The one method of [`EVENTS`].
pub const FORWARD: &str = "Forward";

/// Options of `CreateTaskRequest`: [`runc_options::Options`](crate::runc_options::Options).
pub const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";
/// Options for a runtime that the caller does not know: [`runtime_options::Options`](crate::runtime_options::Options).
pub const RUNTIME_OPTIONS: &str = "runtimeoptions.v1.Options";
/// The process of `ExecProcessRequest`, as JSON of the OCI runtime specification's `process`.
pub const OCI_PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The resources of `UpdateTaskRequest`, as JSON of `linux.resources`.
pub const OCI_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/// Metrics of a cgroup v1: [`cgroups_v1::Metrics`](crate::cgroups_v1::Metrics).
pub const CGROUPS_V1: &str = "io.containerd.cgroups.v1.Metrics";
/// Metrics of a cgroup v2: [`cgroups_v2::Metrics`](crate::cgroups_v2::Metrics).
pub const CGROUPS_V2: &str = "io.containerd.cgroups.v2.Metrics";

/// Whether `url` names the type `name`: containerd writes the bare name, other senders put a host and a slash before it.
pub fn is_type(url: &str, name: &str) -> bool {
    url.strip_suffix(name)
        .is_some_and(|host| host.is_empty() || host.ends_with('/'))
}
