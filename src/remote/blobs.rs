//! One file on its way: in pieces, so that a connection that is lost costs no more than one of them.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use object_store::{MultipartUpload, ObjectStoreExt};

use super::{Course, Remote, Result, Trouble};
use crate::store::{Content, content_of};

/// Bytes of a piece; the services want at least 5 MiB.
const PIECE: u64 = 8 << 20;

impl Remote {
    fn blob(&self, content: &Content) -> object_store::path::Path {
        let (head, tail) = content.digest.as_str().split_at(2);
        self.path(&format!("blobs/{head}/{tail}"))
    }

    /// Fetches a file. What an attempt before has left of it is the beginning.
    pub(super) async fn receive(&self, content: &Content, to: &Path, course: Course<'_>) -> Result<()> {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        let left = fs::metadata(to).map_or(0, |meta| meta.len());
        if left > 0 {
            // Read-only where all of it was there, and about to be taken in.
            let whole = hash(to).await?;
            if whole.digest == content.digest {
                return Ok(());
            }
            if left >= content.bytes {
                fs::remove_file(to)?;
            }
        }
        self.pieces(content, to, course).await?;
        if hash(to).await?.digest == content.digest {
            return Ok(());
        }
        // What was left from before may be to blame.
        fs::remove_file(to)?;
        if left > 0 {
            self.pieces(content, to, course).await?;
            if hash(to).await?.digest == content.digest {
                return Ok(());
            }
            fs::remove_file(to)?;
        }
        self.suspect(&content.digest);
        Err(self.cut(content))
    }

    async fn pieces(&self, content: &Content, to: &Path, course: Course<'_>) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(to)?;
        let mut have = file.metadata()?.len();
        let place = self.blob(content);
        while have < content.bytes {
            let end = (have + PIECE).min(content.bytes);
            let piece = match self.store.get_range(&place, have..end).await {
                Ok(piece) if piece.len() as u64 == end - have => piece,
                Ok(_) => return Err(self.cut(content)),
                Err(object_store::Error::NotFound { .. }) => return Err(self.cut(content)),
                // A file that is too short gives another error with every service.
                Err(e) => match self.store.head(&place).await {
                    Ok(meta) if meta.size != content.bytes => return Err(self.cut(content)),
                    _ => return Err(self.unreachable(&e)),
                },
            };
            file.write_all(&piece)?;
            (course.moved)(end - have);
            have = end;
        }
        Ok(())
    }

    fn cut(&self, content: &Content) -> Trouble {
        self.damaged(format!("the file {}", self.blob(content)))
    }

    /// Sends a file, unless it is there.
    pub(super) async fn send(&self, content: &Content, from: &Path, course: Course<'_>) -> Result<()> {
        let place = self.blob(content);
        match self.store.head(&place).await {
            Ok(meta) if meta.size == content.bytes && !self.is_suspect(&content.digest) => return Ok(()),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(self.unreachable(&e)),
        }
        let mut file = File::open(from)?;
        if content.bytes <= PIECE {
            let mut bytes = vec![];
            file.read_to_end(&mut bytes)?;
            self.store.put(&place, bytes.into()).await.map_err(|e| self.unreachable(&e))?;
        } else {
            let mut upload = self.store.put_multipart(&place).await.map_err(|e| self.unreachable(&e))?;
            let sent = self.send_pieces(&mut *upload, &mut file, content.bytes, course).await;
            let sent = match sent {
                Ok(()) => upload.complete().await.map(drop).map_err(|e| self.unreachable(&e)),
                failed => failed,
            };
            if sent.is_err() {
                // As far as it still can be.
                let _ = upload.abort().await;
                return sent;
            }
        }
        if content.bytes <= PIECE {
            (course.moved)(content.bytes);
        }
        Ok(())
    }

    async fn send_pieces(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &mut File,
        bytes: u64,
        course: Course<'_>,
    ) -> Result<()> {
        let mut sent = 0;
        while sent < bytes {
            let end = (sent + PIECE).min(bytes);
            file.seek(SeekFrom::Start(sent))?;
            let mut piece = vec![];
            file.take(end - sent).read_to_end(&mut piece)?;
            if piece.len() as u64 != end - sent {
                return Err(std::io::Error::other("a file became shorter while it was sent").into());
            }
            upload.put_part(piece.into()).await.map_err(|e| self.unreachable(&e))?;
            (course.moved)(end - sent);
            sent = end;
        }
        Ok(())
    }
}

/// The content of a file, without holding up other transfers.
async fn hash(path: &Path) -> std::io::Result<Content> {
    let path = path.to_path_buf();
    tokio::task::spawn_blocking(move || content_of(&path)).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Sends a file of three pieces and fetches it where so much of it is there; gives the bytes that were fetched.
    fn fetched(beginning: &[u8], bytes: &[u8]) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let remote =
            Remote::open(folder.path().join("remote").to_str().unwrap(), std::iter::empty()).unwrap();
        fs::write(&from, bytes).unwrap();
        fs::write(&to, beginning).unwrap();
        let content = content_of(&from).unwrap();
        let moved = AtomicU64::new(0);
        let count = |more| {
            moved.fetch_add(more, Ordering::Relaxed);
        };
        let course = Course { stop: &|| false, moved: &count };
        remote.wait(&|| false, remote.send(&content, &from, course)).unwrap();
        assert_eq!(moved.swap(0, Ordering::Relaxed), content.bytes);
        remote.wait(&|| false, remote.send(&content, &from, course)).unwrap();
        assert_eq!(moved.load(Ordering::Relaxed), 0, "it is not sent again");
        remote.wait(&|| false, remote.receive(&content, &to, course)).unwrap();
        assert!(fs::read(&to).unwrap() == bytes);
        moved.into_inner()
    }

    #[test]
    fn what_was_fetched_in_part_goes_on_from_there() {
        let size = 2 * PIECE as usize + 5;
        let bytes: Vec<u8> = (0..size).map(|i| (i * i % 251) as u8).collect();
        let all = size as u64;
        assert_eq!(fetched(&[], &bytes), all);
        assert_eq!(fetched(&bytes[..PIECE as usize + 1], &bytes), all - PIECE - 1);
        assert_eq!(fetched(&bytes, &bytes), 0);
        // A beginning of something else is found out.
        assert_eq!(fetched(&[7; 10], &bytes), all - 10 + all);
        assert_eq!(fetched(&vec![7; size + 1], &bytes), all);
    }
}
