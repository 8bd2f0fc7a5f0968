//! Directories that are no more: renamed away at once, deleted by a thread.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use crate::Result;
use crate::error::io;

/// A directory on the same file system whose contents are being deleted.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    /// None until the first use: a snapshotter that never removes has no thread.
    queue: Mutex<Option<Sender<Job>>>,
}

enum Job {
    /// Whatever is left of earlier ones.
    Again,
    Delete(PathBuf),
    /// Answer when everything before is deleted.
    Tell(std::sync::mpsc::SyncSender<Result<()>>),
}

impl Trash {
    /// Opens the trash at `dir` (made if absent) and starts to delete what a former process left there.
    pub(crate) fn open(dir: PathBuf) -> Result<Trash> {
        fs::create_dir_all(&dir).map_err(io("create directory", &dir))?;
        let trash = Trash {
            dir,
            next: AtomicU64::new(0),
            queue: Mutex::default(),
        };
        let mut last = 0;
        for entry in fs::read_dir(&trash.dir).map_err(io("read directory", &trash.dir))? {
            let path = entry.map_err(io("read directory", &trash.dir))?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            last = last.max(number.unwrap_or(0));
            trash.send(Job::Delete(path));
        }
        trash.next.store(last + 1, Ordering::Relaxed);
        Ok(trash)
    }

    /// Takes `path` out of sight; it is deleted later. That it is absent is no error.
    pub(crate) fn take(&self, path: &Path) -> Result<()> {
        let to = self
            .dir
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        match fs::rename(path, &to) {
            Ok(()) => self.send(Job::Delete(to)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                // No record knows it any more: it is deleted where it is, and if not now, then with the next collection.
                tracing::warn!(path = %path.display(), %error, "a removed snapshot is not renamed to the trash");
                self.send(Job::Delete(path.to_owned()));
            }
        }
        Ok(())
    }

    /// Tries again what could not be deleted.
    pub(crate) fn again(&self) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*queue {
            // Without its thread the next start deletes it.
            let _ = sender.send(Job::Again);
        }
    }

    /// Waits until all that was taken is deleted; gives the first failure since the last call. Blocks.
    pub(crate) fn empty(&self) -> Result<()> {
        let (tell, told) = sync_channel(1);
        self.send(Job::Tell(tell));
        // Without a thread nothing was taken, or it will be deleted at the next start.
        told.recv().unwrap_or(Ok(()))
    }

    fn send(&self, job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.get_or_insert_with(|| {
            let (sender, jobs) = channel();
            let thread = std::thread::Builder::new()
                .name("snapshot-trash".into())
                .stack_size(512 << 10);
            if let Err(error) = thread.spawn(move || serve(&jobs)) {
                tracing::warn!(%error, "no thread to delete removed snapshots; the next start deletes them");
            }
            sender
        });
        if sender.send(job).is_err() {
            tracing::warn!("the thread that deletes removed snapshots is gone; the next start deletes them");
        }
    }
}

fn serve(jobs: &Receiver<Job>) {
    let mut result = Ok(());
    // What could not be deleted, and is tried again with the next job: a disk may be well again.
    let mut failed: Vec<PathBuf> = Vec::new();
    for job in jobs {
        failed.retain(|path| delete(path).is_err());
        match job {
            Job::Again => {}
            Job::Delete(path) => {
                if let Err(error) = delete(&path) {
                    tracing::warn!(path = %path.display(), %error, "a removed snapshot stays on the disk for now");
                    if result.is_ok() {
                        result = Err(io("delete", &path)(error));
                    }
                    failed.push(path);
                }
            }
            Job::Tell(tell) => {
                if failed.is_empty() {
                    result = Ok(());
                }
                // Who does not wait any more needs no answer.
                let _ = tell.send(std::mem::replace(&mut result, Ok(())));
            }
        }
    }
}

fn delete(path: &Path) -> std::io::Result<()> {
    // No link is followed, and nothing is crossed by name: the standard library removes by descriptor.
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let result = if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
