//! What keys do.

use std::net::IpAddr;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Top;
use super::chosen::{Asking, Sort};

/// Longest filter, in characters: as long as the longest name of a list or rule.
const FILTER: usize = 64;

/// What a key asks for beyond the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    End,
    Block(IpAddr),
}

impl Top {
    /// Does what a key stands for, and returns what is left to do.
    pub fn press(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.message = None;
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Some(Wish::End);
        }
        match std::mem::take(&mut self.asking) {
            Asking::Nothing if !is_control => self.choose(key.code),
            Asking::Nothing => None,
            Asking::Filter { before } => {
                self.write_filter(key.code, is_control, before);
                None
            }
            Asking::Block(source) => match key.code {
                KeyCode::Char('y' | 'Y') if !is_control => Some(Wish::Block(source)),
                _ => {
                    self.say(format!("{source} was not blocked"));
                    None
                }
            },
            // Any key closes it.
            Asking::Help => None,
        }
    }

    fn choose(&mut self, code: KeyCode) -> Option<Wish> {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::End),
            KeyCode::Char('s') => {
                self.sort = match self.sort {
                    Sort::Rate => Sort::Packets,
                    Sort::Packets => Sort::Name,
                    Sort::Name => Sort::Rate,
                };
                self.above = 0;
            }
            KeyCode::Char('/') => self.asking = Asking::Filter { before: self.filter.clone() },
            KeyCode::Char(' ') => {
                self.paused = match self.paused {
                    None => Some(Box::new(self.now.clone())),
                    Some(_) => None,
                };
            }
            KeyCode::Char('j') | KeyCode::Down => self.select(1),
            KeyCode::Char('k') | KeyCode::Up => self.select(-1),
            KeyCode::PageDown => self.scroll(1),
            KeyCode::PageUp => self.scroll(-1),
            KeyCode::Char('b') => match self.selected {
                Some(source) => self.asking = Asking::Block(source),
                None => self.say("select a source first, with ↑ and ↓ or j and k".to_owned()),
            },
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.asking = Asking::Help,
            _ => {}
        }
        None
    }

    /// Selects the source that comes so many after the selected one.
    fn select(&mut self, by: isize) {
        let sources = self.sources();
        let Some(last) = sources.len().checked_sub(1) else {
            self.say("no source was seen yet".to_owned());
            return;
        };
        let place = sources.iter().position(|source| Some(source.address) == self.selected);
        let place = match place {
            Some(place) => place.saturating_add_signed(by).min(last),
            None if by < 0 => last,
            None => 0,
        };
        self.selected = Some(sources[place].address);
    }

    /// Shows the lists and rules that come so many pages later.
    fn scroll(&mut self, pages: isize) {
        let page = self.page.get().max(1);
        let last = self.rules().len().saturating_sub(page);
        let by = pages.saturating_mul(isize::try_from(page).unwrap_or(1));
        self.above = self.above.saturating_add_signed(by).min(last);
    }

    fn write_filter(&mut self, code: KeyCode, is_control: bool, before: String) {
        self.above = 0;
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                self.filter = before;
                return;
            }
            KeyCode::Char('u') if is_control => self.filter.clear(),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(character) if !is_control && self.filter.chars().count() < FILTER => {
                self.filter.push(character);
            }
            _ => {}
        }
        self.asking = Asking::Filter { before };
    }
}
