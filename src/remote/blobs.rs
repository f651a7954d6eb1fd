//! One file, there and on its way: in pieces, so that a connection that is lost costs no more than one of them.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use object_store::ObjectStoreExt;

use super::{Course, Remote, Result, Trouble};
use crate::store::{Content, content_of};

/// Bytes of a piece, but for the last of a file.
const PIECE: u64 = 8 << 20;

/// A part of a file, which lies at a place of its own.
struct Piece<'a> {
    content: &'a Content,
    number: u64,
}

impl<'a> Piece<'a> {
    /// Those of a file; an empty one has one, too.
    fn all(content: &'a Content) -> impl Iterator<Item = Self> {
        (0..content.bytes.div_ceil(PIECE).max(1)).map(move |number| Self { content, number })
    }

    fn start(&self) -> u64 {
        self.number * PIECE
    }

    fn end(&self) -> u64 {
        (self.start() + PIECE).min(self.content.bytes)
    }

    fn place(&self) -> String {
        if self.content.bytes <= PIECE {
            home(self.content)
        } else {
            format!("{}/{}", home(self.content), self.number)
        }
    }
}

/// Where a file lies, or its pieces.
fn home(content: &Content) -> String {
    let (head, tail) = content.digest.as_str().split_at(2);
    let folder = if content.bytes <= PIECE { "blobs" } else { "pieces" };
    format!("{folder}/{head}/{tail}")
}

impl Remote {
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
        for piece in Piece::all(content).skip((have / PIECE) as usize) {
            let wanted = have - piece.start()..piece.end() - piece.start();
            if wanted.is_empty() {
                break;
            }
            let place = self.path(&piece.place());
            let bytes = match self.store.get_range(&place, wanted.clone()).await {
                Ok(bytes) if bytes.len() as u64 == wanted.end - wanted.start => bytes,
                Ok(_) | Err(object_store::Error::NotFound { .. }) => return Err(self.cut(content)),
                // What is too short gives another error with every service.
                Err(e) => match self.store.head(&place).await {
                    Ok(meta) if meta.size != piece.end() - piece.start() => return Err(self.cut(content)),
                    _ => return Err(self.unreachable(&e)),
                },
            };
            file.write_all(&bytes)?;
            (course.moved)(bytes.len() as u64);
            have = piece.end();
        }
        Ok(())
    }

    fn cut(&self, content: &Content) -> Trouble {
        self.damaged(format!("the file `{}`", home(content)))
    }

    /// Sends a file, but for what of it is there: one piece after the other, so that a slow line need not carry many.
    pub(super) async fn send(&self, content: &Content, from: &Path, course: Course<'_>) -> Result<()> {
        for piece in Piece::all(content) {
            self.send_piece(piece, from, course).await?;
        }
        Ok(())
    }

    async fn send_piece(&self, piece: Piece<'_>, from: &Path, course: Course<'_>) -> Result<()> {
        let (place, size) = (self.path(&piece.place()), piece.end() - piece.start());
        match self.store.head(&place).await {
            Ok(meta) if meta.size == size && !self.is_suspect(&piece.content.digest) => return Ok(()),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(self.unreachable(&e)),
        }
        let mut file = File::open(from)?;
        file.seek(SeekFrom::Start(piece.start()))?;
        let mut bytes = vec![];
        file.take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(std::io::Error::other("a file became shorter while it was sent").into());
        }
        self.store.put(&place, bytes.into()).await.map_err(|e| self.unreachable(&e))?;
        (course.moved)(size);
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

    /// A file, and a folder that is a shared cache.
    struct Shelf {
        folder: tempfile::TempDir,
        remote: Remote,
        content: Content,
        moved: AtomicU64,
    }

    impl Shelf {
        fn with(bytes: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let remote = folder.path().join("remote");
            fs::create_dir(&remote).unwrap();
            let remote = Remote::open(remote.to_str().unwrap(), std::iter::empty()).unwrap();
            fs::write(folder.path().join("from"), bytes).unwrap();
            let content = content_of(&folder.path().join("from")).unwrap();
            Self { folder, remote, content, moved: AtomicU64::new(0) }
        }

        /// How many bytes an act moves.
        fn count(&self, act: impl FnOnce(Course<'_>) -> Result<()>) -> u64 {
            let moved = |more| {
                self.moved.fetch_add(more, Ordering::Relaxed);
            };
            act(Course { stop: &|| false, moved: &moved }).unwrap();
            self.moved.swap(0, Ordering::Relaxed)
        }

        fn send(&self) -> u64 {
            let from = self.folder.path().join("from");
            self.count(|course| self.remote.wait(&|| false, self.remote.send(&self.content, &from, course)))
        }

        /// Where so much of the file is here.
        fn fetch(&self, beginning: &[u8]) -> u64 {
            let to = self.folder.path().join("to");
            fs::write(&to, beginning).unwrap();
            let moved = self
                .count(|course| self.remote.wait(&|| false, self.remote.receive(&self.content, &to, course)));
            assert!(fs::read(&to).unwrap() == fs::read(self.folder.path().join("from")).unwrap());
            moved
        }
    }

    fn bytes(size: u64) -> Vec<u8> {
        (0..size).map(|i| (i * i % 251) as u8).collect()
    }

    #[test]
    fn what_was_transferred_in_part_goes_on_from_there() {
        let all = 2 * PIECE + 5;
        let bytes = bytes(all);
        let shelf = Shelf::with(&bytes);
        assert_eq!(shelf.send(), all);
        assert_eq!(shelf.send(), 0, "it is not sent again");
        let pieces =
            shelf.folder.path().join("remote").join(Piece { content: &shelf.content, number: 0 }.place());
        fs::remove_file(&pieces).unwrap();
        fs::write(pieces.with_file_name("2"), "cut").unwrap();
        assert_eq!(shelf.send(), PIECE + 5);

        assert_eq!(shelf.fetch(&[]), all);
        assert_eq!(shelf.fetch(&bytes[..PIECE as usize]), all - PIECE);
        assert_eq!(shelf.fetch(&bytes[..PIECE as usize + 1]), all - PIECE - 1);
        assert_eq!(shelf.fetch(&bytes), 0);
        // A beginning of something else is found out.
        assert_eq!(shelf.fetch(&[7; 10]), all - 10 + all);
        assert_eq!(shelf.fetch(&vec![7; bytes.len() + 1]), all);
    }

    #[test]
    fn a_file_of_any_size_comes_through() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            let shelf = Shelf::with(&bytes(size));
            assert_eq!((shelf.send(), shelf.send(), shelf.fetch(&[])), (size, 0, size));
        }
    }
}
