//! What is said of a command line that is not understood, and help.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::session::Name;

/// The layout of a verb's help.
const VERB_HELP: &str = "Usage:\n  {usage}\n\n{about-with-newline}\n{all-args}{after-help}\n";

/// Gives the command and all its verbs the same manners: how help looks, and the rules of OSTree's
/// option parser (options anywhere, the last of several counts, values may start with a dash).
pub(crate) fn with_manners(command: Command, name: Name) -> Command {
    let usage = usage_line(&command, name.as_str());
    polish(command.bin_name(name.as_str()), usage, name)
}

fn polish(command: Command, usage: String, name: Name) -> Command {
    let has_verbs = command.has_subcommands();
    let path = usage.split(" [").next().unwrap_or_default().to_owned();
    let mut command = command
        .help_template(VERB_HELP)
        .override_usage(usage)
        .args_override_self(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .mut_args(|arg| {
            let takes_value = arg.get_action().takes_values() && !arg.is_positional();
            arg.allow_hyphen_values(takes_value)
        });
    if name == Name::Ostree {
        command = command.after_help("").after_long_help("");
    }
    if !has_verbs {
        return command;
    }
    if !path.contains(' ') {
        command = command.subcommand_help_heading("Builtin Commands");
    } else {
        let heading = format!("Builtin \"{}\" Commands", command.get_name());
        command = command.subcommand_help_heading(heading);
    }
    command.mut_subcommands(|verb| {
        let usage = usage_line(&verb, &format!("{path} {}", verb.get_name()));
        polish(verb, usage, name)
    })
}

/// Returns `ostree VERB [OPTION…] ARGUMENTS`.
fn usage_line(command: &Command, path: &str) -> String {
    let mut usage = format!("{path} [OPTION…]");
    if command.has_subcommands() {
        return usage + " COMMAND";
    }
    for arg in command.get_positionals() {
        let names = arg.get_value_names().unwrap_or_default();
        for name in names {
            usage += &format!(" {name}");
        }
    }
    usage
}

/// Returns what to say of a command line that clap did not take.
pub(crate) fn failure(error: &clap::Error, name: Name) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let option = text(ContextKind::InvalidArg);
    let option = option.split([' ', '=', '<']).next().unwrap_or_default();
    let value = text(ContextKind::InvalidValue);
    let message = match error.kind() {
        ErrorKind::UnknownArgument if option.starts_with('-') => format!("Unknown option {option}"),
        ErrorKind::UnknownArgument => "Too many arguments given".to_owned(),
        ErrorKind::InvalidValue if value.is_empty() => format!("Missing argument for {option}"),
        ErrorKind::ValueValidation if name == Name::Ostree => {
            format!("Cannot parse integer value “{value}” for {option}")
        }
        ErrorKind::ValueValidation => format!("Cannot parse value “{value}” for {option}"),
        _ => first_line(error),
    };
    let suggestion = text(ContextKind::SuggestedArg);
    if name == Name::Treeferry && !suggestion.is_empty() {
        return Failure::new(format!("{message}; did you mean {suggestion}?"));
    }
    match error.kind() {
        ErrorKind::UnknownArgument if !option.starts_with('-') => Failure::usage(message),
        _ => Failure::new(message),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Returns the help of the verb at `path`, such as `remote`, `add`.
pub(crate) fn help_of(mut command: Command, path: &[String]) -> String {
    command.build();
    let mut here = &mut command;
    for verb in path {
        match here.find_subcommand(verb).is_some() {
            true => {
                here = here
                    .find_subcommand_mut(verb)
                    .unwrap_or_else(|| unreachable!("it was just found"));
            }
            false => break,
        }
    }
    here.render_long_help().to_string()
}
