//! A set of page numbers, one bit each, with counts that make it quick to search.

/// Words whose members are counted together.
const GROUP_WORDS: usize = 64;

/// A growing set of page numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    /// Members in each group of words.
    groups: Vec<u32>,
    count: u64,
}

impl Bitmap {
    /// Members.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The word at `index`: the members from `index * 64`.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// Words that may hold members.
    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    /// Whether `page` is a member.
    #[inline]
    pub(crate) fn contains(&self, page: u32) -> bool {
        self.word(page as usize / 64) >> (page % 64) & 1 == 1
    }

    /// Makes all members of `bits` in the word at `index` members.
    pub(crate) fn set_word(&mut self, index: usize, bits: u64) {
        if index >= self.words.len() {
            if bits == 0 {
                return;
            }
            self.words.resize(index + 1, 0);
            self.groups.resize(index / GROUP_WORDS + 1, 0);
        }
        let old = std::mem::replace(&mut self.words[index], bits);
        let group = &mut self.groups[index / GROUP_WORDS];
        *group = *group - old.count_ones() + bits.count_ones();
        self.count = self.count - u64::from(old.count_ones()) + u64::from(bits.count_ones());
    }

    /// Adds `page`; whether it was not a member.
    #[inline]
    pub(crate) fn insert(&mut self, page: u32) -> bool {
        let index = page as usize / 64;
        let old = self.word(index);
        self.set_word(index, old | 1 << (page % 64));
        old >> (page % 64) & 1 == 0
    }

    /// Removes `page`; whether it was a member.
    #[inline]
    pub(crate) fn remove(&mut self, page: u32) -> bool {
        let index = page as usize / 64;
        let old = self.word(index);
        self.set_word(index, old & !(1 << (page % 64)));
        old >> (page % 64) & 1 == 1
    }

    /// The first member at or after `from`.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let mut index = from as usize / 64;
        let mut word = self.word(index) & (u64::MAX << (from % 64));
        loop {
            if word != 0 {
                return Some(index as u32 * 64 + word.trailing_zeros());
            }
            index += 1;
            while index.is_multiple_of(GROUP_WORDS)
                && self
                    .groups
                    .get(index / GROUP_WORDS)
                    .is_some_and(|members| *members == 0)
            {
                index += GROUP_WORDS;
            }
            if index >= self.words.len() {
                return None;
            }
            word = self.words[index];
        }
    }

    /// The last member.
    pub(crate) fn last(&self) -> Option<u32> {
        let index = self.words.iter().rposition(|word| *word != 0)?;
        Some(index as u32 * 64 + 63 - self.words[index].leading_zeros())
    }

    /// The first of `length` adjacent members at or after `from`, looking at no more than
    /// `effort` candidates.
    pub(crate) fn next_run(&self, from: u32, length: u32, effort: u32) -> Option<u32> {
        let mut start = self.next(from)?;
        for _ in 0..effort {
            let end = self.run_end(start, length);
            if end - start >= length {
                return Some(start);
            }
            start = self.next(end)?;
        }
        None
    }

    /// The end of the members adjacent to `start`, a member; no further than needed for `length`.
    fn run_end(&self, start: u32, length: u32) -> u32 {
        let mut end = start;
        while end - start < length {
            let rest = self.word(end as usize / 64) >> (end % 64);
            let ones = rest.trailing_ones();
            end += ones;
            if ones == 0 || !end.is_multiple_of(64) {
                break;
            }
        }
        end
    }
}
