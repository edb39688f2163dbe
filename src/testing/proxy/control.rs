//! What the proxy's program is told: one command per line.
//!
//! ```text
//! arm APIS FAULT [NUMBER] [client=TEXT] [times=N] [skip=N] [permille=N]
//! clear | cut NODE [client=TEXT] | heal | counts | nodes | quit
//! ```
//! APIS is `all` or names such as `end-txn,produce`; NODE is a broker's number, or `all`.

use super::{api::Api, fault::Fault, schedule::Rule, server::FaultProxy};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A further rule.
    Arm(Rule),
    /// No rules any more.
    Clear,
    /// A broker (`None`: all) and clients are cut off from each other.
    Cut(Option<i32>, String),
    /// No cuts any more.
    Heal,
    /// What was done so far.
    Counts,
    /// Which brokers there are.
    Nodes,
    /// The end.
    Quit,
}

/// Why a line is no command, or cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The word is unknown, or something is missing behind it.
    #[error("not understood: {0:?}")]
    Line(String),
    /// No answer has named that broker yet.
    #[error("no broker {0} has been heard of")]
    Node(i32),
}

impl Command {
    /// Reads a line.
    pub fn parse(line: &str) -> Result<Self, CommandError> {
        let wrong = || CommandError::Line(line.to_owned());
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            return Err(wrong());
        }
        let options: Vec<(&str, &str)> =
            words.iter().filter_map(|word| word.split_once('=')).collect();
        words.retain(|word| !word.contains('='));
        let verb = words.remove(0);
        match (verb, words.as_slice()) {
            ("arm", [apis, fault, number @ ..]) if number.len() < 2 => {
                arm(apis, fault, number.first().copied(), &options).ok_or_else(wrong)
            }
            ("cut", [node]) => {
                let node = match *node {
                    "all" => None,
                    number => Some(number.parse().map_err(|_| wrong())?),
                };
                match options.as_slice() {
                    [] => Ok(Self::Cut(node, String::new())),
                    [("client", client)] => Ok(Self::Cut(node, (*client).to_owned())),
                    _ => Err(wrong()),
                }
            }
            _ if !options.is_empty() => Err(wrong()),
            ("clear", []) => Ok(Self::Clear),
            ("heal", []) => Ok(Self::Heal),
            ("counts", []) => Ok(Self::Counts),
            ("nodes", []) => Ok(Self::Nodes),
            ("quit", []) => Ok(Self::Quit),
            _ => Err(wrong()),
        }
    }

    /// Does it; what there is to say.
    pub fn apply(self, proxy: &FaultProxy) -> Result<String, CommandError> {
        match self {
            Self::Arm(rule) => proxy.arm(rule),
            Self::Clear => proxy.disarm(),
            Self::Cut(None, client) => proxy.cut(None, &client),
            Self::Cut(Some(node), client) => {
                let nodes = proxy.nodes();
                let broker = nodes.get(&node).ok_or(CommandError::Node(node))?;
                proxy.cut(Some(broker), &client);
            }
            Self::Heal => proxy.heal(),
            Self::Counts => return Ok(proxy.counts().to_string()),
            Self::Nodes => {
                let nodes = proxy.nodes();
                let lines: Vec<String> =
                    nodes.iter().map(|(node, address)| format!("{node} {address}")).collect();
                return Ok(lines.join("\n"));
            }
            Self::Quit => {}
        }
        Ok("ok".to_owned())
    }
}

fn arm(apis: &str, fault: &str, number: Option<&str>, options: &[(&str, &str)]) -> Option<Command> {
    let apis = match apis {
        "all" => Vec::new(),
        names => names.split(',').map(Api::parse).collect::<Option<_>>()?,
    };
    let number = match number {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let fault = Fault::parse(fault, number)?;
    let mut rule = Rule { apis, client: String::new(), fault, skip: 0, times: 1, permille: 1000 };
    for (name, value) in options {
        match *name {
            "client" => (*value).clone_into(&mut rule.client),
            "times" => rule.times = value.parse().ok()?,
            "skip" => rule.skip = value.parse().ok()?,
            "permille" => rule.permille = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(Command::Arm(rule))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn commands_are_read() {
        let rule = Rule::once(Api::END_TXN, ".i1.", Fault::DropAnswer);
        let line = "arm end-txn drop-answer client=.i1.";
        assert_eq!(Command::parse(line), Ok(Command::Arm(rule)));
        let rule = Rule {
            apis: vec![],
            client: String::new(),
            fault: Fault::Delay(Duration::from_millis(500)),
            skip: 2,
            times: 9,
            permille: 10,
        };
        let line = "arm all delay 500 times=9 skip=2 permille=10";
        assert_eq!(Command::parse(line), Ok(Command::Arm(rule)));
        let cut = Command::parse("cut 2 client=.i1.");
        assert_eq!(cut, Ok(Command::Cut(Some(2), ".i1.".to_owned())));
        assert_eq!(Command::parse("cut all"), Ok(Command::Cut(None, String::new())));
        assert_eq!(Command::parse(" heal "), Ok(Command::Heal));
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_line() {
        for line in [
            "",
            "arm",
            "arm end-txn",
            "arm commit drop-answer",
            "arm end-txn delay",
            "arm end-txn delay 5 6",
            "arm end-txn drop-answer who=x",
            "cut",
            "cut two",
            "cut 1 times=2",
            "heal now",
            "heal times=1",
        ] {
            assert_eq!(Command::parse(line), Err(CommandError::Line(line.to_owned())));
        }
    }
}
