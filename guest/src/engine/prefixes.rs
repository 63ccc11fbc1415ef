//! What was computed for replies that are over, kept for the next turn of their conversation.
//!
//! A prompt that begins with the same tokens goes on from there: keys and values of a position depend on the tokens up
//! to it and on nothing else, so the bits are those of a reply that computes all. Blocks are shared by reference; what
//! is kept is the first thing that makes room ([`Prefixes::drop_oldest`]).
//!
//! Nothing is found outside its [`Scope`], so that no client learns by times what another asked. Comparing tokens
//! branches on them: what it finds shows in the number of rows anyway (docs/threat-model.md).

use crate::models::State;
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// Most replies whose positions are kept, whatever memory there is: each is compared with every new prompt of its scope.
pub(super) const MOST_KEPT: usize = 256;

/// Fewest positions that are worth going on from.
const LEAST: usize = 16;

/// Whose prompts may begin where a reply ended.
#[derive(Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of the same connection.
    Connection(u64),
    /// Those of whoever knows the key.
    Key(Zeroizing<[u8; 32]>),
}

/// A reply that is over.
struct Kept {
    scope: Scope,
    /// Of the positions in `state`.
    tokens: Zeroizing<Vec<u32>>,
    state: State,
}

/// Replies that are over, the one that was of use longest ago first.
#[derive(Default)]
pub(super) struct Prefixes(VecDeque<Kept>);

impl Prefixes {
    /// Keeps what was computed for `tokens`. What it goes on from needs no place of its own any more.
    pub(super) fn keep(&mut self, scope: Scope, tokens: &[u32], state: State) {
        if tokens.len() < LEAST {
            return;
        }
        self.0
            .retain(|kept| kept.scope != scope || !tokens.starts_with(&kept.tokens));
        if self.0.len() == MOST_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Kept {
            scope,
            tokens: Zeroizing::new(tokens.to_vec()),
            state,
        });
    }

    /// The longest beginning of a prompt that is kept: its positions and their state. The last token of a prompt is
    /// never in it, as its logits are needed. `serves`: whether the state of a reply of so many tokens is the prompt's.
    pub(super) fn find(
        &mut self,
        scope: &Scope,
        prompt: &[u32],
        serves: impl Fn(usize) -> bool,
    ) -> Option<(usize, State)> {
        let (_, before) = prompt.split_last()?;
        let usable = |kept: &Kept| {
            let common = before.iter().zip(&*kept.tokens);
            let common = common.take_while(|(a, b)| a == b).count();
            let serves = kept.scope == *scope
                && common >= LEAST
                && serves(kept.tokens.len())
                && kept.state.reaches(common);
            serves.then_some(common)
        };
        let found = self.0.iter().enumerate();
        let (at, positions) = found
            .filter_map(|(at, kept)| Some((at, usable(kept)?)))
            .max_by_key(|(_, positions)| *positions)?;
        let kept = self.0.remove(at)?;
        let mut state = kept.state.clone();
        state.rewind(positions);
        self.0.push_back(kept);
        Some((positions, state))
    }

    /// Forgets the oldest. False: there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        self.0.pop_front().is_some()
    }

    /// Forgets what only a connection that is over could find.
    pub(super) fn close(&mut self, connection: u64) {
        self.0
            .retain(|kept| kept.scope != Scope::Connection(connection));
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
