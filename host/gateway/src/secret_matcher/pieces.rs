//! The bytes of a layer, each with the range of the source that it came from.

/// Most decodings between the source and a layer.
pub(super) const DECODINGS_MAX: u8 = 4;

/// A gap in a layer: no byte of it belongs to a secret, a number or an escape.
pub(super) const GAP: u8 = 0;

/// What a text is made of: bytes, or pieces of a layer.
pub(super) trait Written {
    /// The byte itself.
    fn byte(&self) -> u8;
}

impl Written for u8 {
    #[inline]
    fn byte(&self) -> u8 {
        *self
    }
}

impl Written for Piece {
    #[inline]
    fn byte(&self) -> u8 {
        self.byte
    }
}

/// A byte of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) byte: u8,
    /// Whether the layer above has it in another form.
    pub(super) fresh: bool,
    /// Where it begins and ends in the source.
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Piece {
    /// A byte of the source itself.
    pub(super) fn of_source(byte: u8, at: u32) -> Self {
        Self { byte, fresh: true, start: at, end: at + 1 }
    }
}

/// The bytes that a layer has still to read, without those that never belong to a secret but may be written between its
/// characters: U+0000 (which UTF-16 has between letters of ASCII, and which is removed before a text is stored), line
/// breaks, and the blanks that a folded line begins with.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) pieces: Vec<Piece>,
    after_break: bool,
    /// What is read next stands behind another byte than in the layer above, since something was left out or decoded.
    is_behind_other: bool,
}

impl Inbox {
    #[inline]
    pub(super) fn push(&mut self, piece: Piece) {
        match piece.byte {
            0 => self.is_behind_other = true,
            b'\r' | b'\n' => (self.after_break, self.is_behind_other) = (true, true),
            b' ' | b'\t' if self.after_break => self.is_behind_other = true,
            _ => {
                self.after_break = false;
                // What is copied next stands behind another byte than in the layer above.
                self.is_behind_other = true;
                self.pieces.push(Piece { fresh: true, ..piece });
            }
        }
    }

    /// Takes over bytes of the layer above, which are the same here.
    pub(super) fn copy(&mut self, mut pieces: &[Piece]) {
        while self.after_break
            && let [Piece { byte: b' ' | b'\t', .. }, rest @ ..] = pieces
        {
            (self.is_behind_other, pieces) = (true, rest);
        }
        let Some((first, rest)) = pieces.split_first() else { return };
        self.after_break = false;
        self.pieces.push(Piece { fresh: std::mem::take(&mut self.is_behind_other), ..*first });
        self.pieces.extend(rest.iter().map(|piece| Piece { fresh: false, ..*piece }));
    }

    /// Where this one stands between two bytes, with nothing to read.
    pub(super) fn without_pieces(&self) -> Self {
        Self { pieces: Vec::new(), after_break: self.after_break, is_behind_other: self.is_behind_other }
    }

    /// Adds a gap of the source.
    pub(super) fn gap(&mut self, at: u32) {
        (self.after_break, self.is_behind_other) = (false, false);
        self.pieces.push(Piece { byte: GAP, fresh: false, start: at, end: at });
    }

    pub(super) fn is_between(&self) -> bool {
        self.after_break || self.is_behind_other
    }
}
