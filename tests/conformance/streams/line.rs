//! Input of a connection, in which jobs are named by the order in which they were put: the
//! servers may number them differently.

/// A piece of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The id of the job that was put as the n-th of the stream, from 0.
    Job(usize),
}

/// Commands that are sent together, and how many replies they get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// The bytes, line ends included.
    pub(super) words: Vec<Word>,
    /// The number of replies that must come.
    pub(super) reply_count: usize,
}

impl Word {
    /// A word of text.
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Bytes(text.to_string().into_bytes())
    }
}

impl Input {
    /// One line: the words with a space between them, and CR LF. It gets one reply.
    pub(super) fn line(words: Vec<Word>) -> Self {
        let mut input = Self { words: Vec::new(), reply_count: 1 };
        for (index, word) in words.into_iter().enumerate() {
            if index > 0 {
                input.words.push(Word::text(" "));
            }
            input.words.push(word);
        }
        input.words.push(Word::text("\r\n"));
        input
    }

    /// Bytes that get so many replies.
    pub(super) fn bytes(bytes: impl Into<Vec<u8>>, reply_count: usize) -> Self {
        Self { words: vec![Word::Bytes(bytes.into())], reply_count }
    }

    /// This input and then `next`, in one go.
    pub(super) fn then(mut self, next: Self) -> Self {
        self.words.extend(next.words);
        self.reply_count += next.reply_count;
        self
    }

    /// The bytes for a server that gave the jobs these ids.
    pub(super) fn render(&self, ids: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in &self.words {
            match word {
                Word::Bytes(text) => bytes.extend_from_slice(text),
                Word::Job(job) => bytes.extend_from_slice(ids[*job].to_string().as_bytes()),
            }
        }
        bytes
    }
}
