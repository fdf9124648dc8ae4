//! Finds out what the process is, by the names of OpenTelemetry's conventions for resources.

use std::{env, fs, path::Path};

use super::Resource;

pub(super) fn of_process() -> Resource {
    let executable = env::current_exe().ok();
    let executable = executable.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    Machine { root: Path::new("/"), variable: |name: &str| env::var(name).ok() }
        .resource()
        .with("service.instance.id", instance())
        .with("os.type", os())
        .with("host.arch", arch())
        .with("process.pid", std::process::id().to_string())
        .with("process.executable.name", executable.unwrap_or_default())
        .with("process.runtime.name", "rustc")
        .with("process.runtime.version", env!("MAINSTAY_RUSTC_VERSION"))
}

/// A random UUID (RFC 9562 section 5.4): two processes never have the same, also not two of one container.
fn instance() -> String {
    let bits = fastrand::u128(..);
    let bits = bits & !(0xf << 76) | 4 << 76;
    let bits = bits & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn os() -> &'static str {
    match env::consts::OS {
        "macos" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}

fn arch() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// Where the process runs.
struct Machine<'a, V> {
    root: &'a Path,
    variable: V,
}

impl<V: Fn(&str) -> Option<String>> Machine<'_, V> {
    fn resource(&self) -> Resource {
        let host =
            self.file("proc/sys/kernel/hostname").or_else(|| self.first(&["HOSTNAME", "COMPUTERNAME"]));
        let host = host.unwrap_or_default();
        let resource = Resource::default()
            .with("host.name", host.clone())
            .with("host.id", self.file("etc/machine-id").unwrap_or_default())
            .with("container.id", self.container().unwrap_or_default());
        // The platform sets it in every pod.
        if self.first(&["KUBERNETES_SERVICE_HOST"]).is_none() {
            return resource;
        }
        let namespace = || self.file("var/run/secrets/kubernetes.io/serviceaccount/namespace");
        let or_empty = |names: &[&str]| self.first(names).unwrap_or_default();
        resource
            // A pod's host name is its own name, unless its specification says otherwise.
            .with("k8s.pod.name", self.first(&["K8S_POD_NAME", "POD_NAME"]).unwrap_or(host))
            .with("k8s.pod.uid", or_empty(&["K8S_POD_UID", "POD_UID"]))
            .with(
                "k8s.namespace.name",
                self.first(&["K8S_NAMESPACE_NAME", "POD_NAMESPACE"]).or_else(namespace).unwrap_or_default(),
            )
            .with("k8s.node.name", or_empty(&["K8S_NODE_NAME", "NODE_NAME"]))
            .with("k8s.container.name", or_empty(&["K8S_CONTAINER_NAME", "CONTAINER_NAME"]))
            .with("k8s.deployment.name", or_empty(&["K8S_DEPLOYMENT_NAME", "DEPLOYMENT_NAME"]))
            .with("k8s.cluster.name", or_empty(&["K8S_CLUSTER_NAME", "CLUSTER_NAME"]))
    }

    /// With cgroup v1 the path of the control group ends with it; with v2 the process sees nothing of that, but where its
    /// files come from.
    fn container(&self) -> Option<String> {
        let v1 = || self.text("proc/self/cgroup")?.lines().find_map(|line| id_in(line.rsplit('/').next()?));
        let v2 = || {
            let mounts = self.text("proc/self/mountinfo")?;
            let mut lines = mounts.lines().filter(|line| line.contains("/containers/"));
            lines.find_map(|line| id_in(line.split("/containers/").nth(1)?.split('/').next()?))
        };
        v1().or_else(v2)
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn file(&self, path: &str) -> Option<String> {
        Some(self.text(path)?.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| (self.variable)(name).filter(|value| !value.is_empty()))
    }
}

/// 64 hexadecimal digits, between what runtimes put around them: `docker-….scope`, `cri-containerd:…`.
fn id_in(name: &str) -> Option<String> {
    let mut words = name.split(|c: char| !c.is_ascii_hexdigit());
    words.find(|word| word.len() == 64).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "f3b1d5a0c6e7f3b1d5a0c6e7f3b1d5a0c6e7f3b1d5a0c6e7f3b1d5a0c6e7abcd";

    fn resource(files: &[(&str, String)], variables: &[(&str, &str)]) -> Resource {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(own, _)| *own == name)?;
            Some((*value).to_owned())
        };
        Machine { root: folder.path(), variable }.resource()
    }

    #[test]
    fn the_container_is_known_by_both_versions_of_control_groups() {
        let v1 = ("proc/self/cgroup", format!("12:cpu:/kubepods/pod1/cri-containerd-{ID}.scope\n"));
        let mount = format!("1 2 3:4 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 x y\n");
        let v2 = [("proc/self/cgroup", "0::/\n".to_owned()), ("proc/self/mountinfo", mount)];
        assert_eq!(resource(&[v1], &[]).get("container.id"), Some(ID));
        assert_eq!(resource(&v2, &[]).get("container.id"), Some(ID));
        let slice = ("proc/self/cgroup", "0::/user.slice/session-1.scope\n".to_owned());
        assert_eq!(resource(&[slice], &[]).get("container.id"), None);
    }

    #[test]
    fn a_pod_says_what_it_was_told() {
        let files = [
            ("proc/sys/kernel/hostname", "orders-6b7\n".to_owned()),
            ("var/run/secrets/kubernetes.io/serviceaccount/namespace", "shop".to_owned()),
        ];
        let found =
            resource(&files, &[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("POD_UID", "u"), ("NODE_NAME", "")]);
        let expected = [
            ("host.name", "orders-6b7"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "orders-6b7"),
            ("k8s.pod.uid", "u"),
        ];
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        assert_eq!(resource(&files, &[("POD_UID", "u")]).iter().count(), 1);
    }

    #[test]
    fn every_process_is_an_instance_of_its_own() {
        let (one, other) = (instance(), instance());
        assert_ne!(one, other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }
}
