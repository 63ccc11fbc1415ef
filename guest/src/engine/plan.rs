//! Who is served in the next pass, and with how many rows; who gives memory back.
//!
//! Rows go in turn. Memory goes by rank: the first reply of every connection comes before the second of any, and of
//! equals the one that came first. Whoever finds none takes it from what is kept of replies that are over, then from
//! the last in rank, whose positions are computed again when there is room. So the first in rank always goes on, and no
//! client can hold what another's first reply needs. A reply whose client takes nothing ranks behind all.

use super::Engine;
use crate::session::Session;
use std::collections::BTreeMap;

/// Rows of each session in a pass.
pub(super) type Plan = BTreeMap<u32, usize>;

/// The smaller, the sooner.
type Rank = (bool, usize, u32);

/// Of the rows of a pass, the part that replies leave to prompts, however many replies there are.
const FOR_PROMPTS: usize = 4;

impl Engine {
    /// Rows of each session in the next pass, at most `max_batch_rows` in all, and at most [`Engine::pace`] of prompts if
    /// there are replies in it.
    pub(super) fn plan(&mut self) -> Plan {
        let going = self.sessions.iter().filter(|(_, session)| !session.held);
        let going = going.map(|(id, session)| (*id, session.pending().len() == 1));
        let (replies, prompts): (Vec<_>, Vec<_>) = going.partition(|(_, is_reply)| *is_reply);
        let replies = in_turn(replies, self.turns.reply);
        let prompts = in_turn(prompts, self.turns.prompt);

        let budget = self.ready.options.max_batch_rows as usize;
        let prompt_rows = self.prompt_rows.max(1);
        let kept = match prompts.is_empty() {
            true => 0,
            // A pass of one row goes to a reply.
            false => (budget / FOR_PROMPTS).clamp(1, prompt_rows).min(budget - 1),
        };
        let mut planning = Planning {
            ranks: self.ranks(),
            engine: self,
            plan: Plan::new(),
            promised: BTreeMap::new(),
        };
        planning.replies(&replies, budget - kept);
        let left = budget - planning.plan.len();
        let for_prompts = match planning.plan.is_empty() {
            true => left,
            false => left.min(prompt_rows),
        };
        planning.prompts(prompts, for_prompts);
        planning.plan
    }

    fn ranks(&self) -> BTreeMap<u32, Rank> {
        let mut before: BTreeMap<u64, usize> = BTreeMap::new();
        let rank = |(id, session): (&u32, &Session)| {
            let before = before.entry(session.connection).or_default();
            *before += 1;
            (*id, (session.held, *before, *id))
        };
        self.sessions.iter().map(rank).collect()
    }

    /// Bytes of a session that has so many positions behind it.
    fn whole(&self, positions: usize) -> u64 {
        let batch = self.ready.options.max_batch_rows as usize;
        self.decoder.state_bytes(positions, batch)
    }

    /// A session begins again when there is room.
    pub(super) fn restart(&mut self, id: u32) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.state = self.decoder.state(&self.memory);
            session.position = 0;
        }
    }
}

/// First those that come after the last one for which there were rows.
fn in_turn(sessions: Vec<(u32, bool)>, last: u32) -> Vec<u32> {
    let mut ids: Vec<_> = sessions.into_iter().map(|(id, _)| id).collect();
    let served = ids.partition_point(|id| *id <= last);
    ids.rotate_left(served);
    ids
}

struct Planning<'e> {
    engine: &'e mut Engine,
    ranks: BTreeMap<u32, Rank>,
    plan: Plan,
    /// Bytes that the rows of each session in the plan take.
    promised: BTreeMap<u32, u64>,
}

impl Planning<'_> {
    /// A row for each, as far as there are rows.
    fn replies(&mut self, replies: &[u32], mut rows: usize) {
        for id in replies {
            if rows == 0 {
                return;
            }
            let needed = self.engine.sessions[id].state.bytes_to_append(1);
            if self.make_room(*id, needed) {
                self.plan.insert(*id, 1);
                rows -= 1;
                if rows == 0 {
                    self.engine.turns.reply = *id;
                }
            }
        }
    }

    /// Equal parts for the first prompt of each connection; what these leave, in order of rank.
    fn prompts(&mut self, mut prompts: Vec<u32>, rows: usize) {
        // Stable: those of a rank stay in turn.
        prompts.sort_by_key(|id| self.ranks[id].1);
        let least = prompts.first().map(|id| self.ranks[id].1);
        let firsts = prompts
            .iter()
            .filter(|id| Some(self.ranks[id].1) == least)
            .count();
        let part = rows.div_ceil(firsts.max(1));
        let mut left = rows;
        for most in [part, usize::MAX] {
            for id in &prompts {
                let given = self.plan.get(id).copied().unwrap_or(0);
                let session = &self.engine.sessions[id];
                let wanted = (session.pending().len() - given).min(left).min(most);
                // From the start only if it may come to its end: else it would be computed in vain, again and again.
                let begins = session.position == 0 && given == 0;
                let needed = match begins {
                    true => self.engine.whole(session.pending().len()),
                    false => session.state.bytes_to_append(given + wanted),
                };
                if wanted == 0 || !self.make_room(*id, needed) {
                    continue;
                }
                self.plan.insert(*id, given + wanted);
                left -= wanted;
                if left == 0 {
                    self.engine.turns.prompt = *id;
                    return;
                }
            }
        }
    }

    /// Whether there are so many bytes for a session, maybe now; then they are promised.
    fn make_room(&mut self, id: u32, needed: u64) -> bool {
        self.promised.remove(&id);
        let rank = self.ranks[&id];
        while self.free() < needed {
            if self.engine.prefixes.drop_oldest() {
                continue;
            }
            if self.free() + self.held_behind(rank) < needed || !self.take_back(rank) {
                return false;
            }
        }
        self.promised.insert(id, needed);
        true
    }

    /// Bytes that nobody has and nobody was promised.
    fn free(&self) -> u64 {
        let promised: u64 = self.promised.values().sum();
        let taken = self.engine.memory.used() + promised;
        self.engine.ready.options.kv_memory.saturating_sub(taken)
    }

    /// Bytes of all sessions behind a rank, and what they were promised. What they share is counted twice: there may be
    /// less.
    fn held_behind(&self, rank: Rank) -> u64 {
        let behind = self.ranks.iter().filter(|(_, other)| **other > rank);
        let held = |id| {
            let promised = self.promised.get(id).copied().unwrap_or(0);
            self.engine.sessions[id].state.bytes() + promised
        };
        behind.map(|(id, _)| held(id)).sum()
    }

    /// The last in rank gives back what it has, if that is behind `rank`.
    fn take_back(&mut self, rank: Rank) -> bool {
        let holds = |id: &u32| self.engine.sessions[id].state.bytes() > 0;
        let last = self.ranks.iter().filter(|(id, _)| holds(id));
        let Some((id, last)) = last.max_by_key(|(_, rank)| **rank) else {
            return false;
        };
        if *last <= rank {
            return false;
        }
        let id = *id;
        self.plan.remove(&id);
        self.promised.remove(&id);
        self.engine.counters.restarts += 1;
        self.engine.restart(id);
        true
    }
}
