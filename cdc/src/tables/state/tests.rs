//! Every command in every state.

use super::{
    CommandError,
    TableCommand::{self, Accept, Resync, Retry, Skip},
    TableState::{self, Changed, Copying, Pending, Quarantined, Ready, Replaying, Resyncing},
};

const COMMANDS: [TableCommand; 4] = [Retry, Skip, Resync, Accept];

#[test]
fn commands_lead_exactly_where_the_picture_says() {
    let mut led = Vec::new();
    for state in TableState::ALL {
        for command in COMMANDS {
            if let Ok(next) = state.after(command, false) {
                led.push((state, command, next));
            }
        }
    }
    assert_eq!(
        led,
        [
            (Ready, Resync, Resyncing),
            (Quarantined, Retry, Replaying),
            (Quarantined, Skip, Replaying),
            (Quarantined, Resync, Resyncing),
            (Changed, Resync, Resyncing),
            (Changed, Accept, Replaying),
            (Replaying, Resync, Resyncing),
        ]
    );
}

#[test]
fn a_table_whose_parked_changes_were_dropped_can_only_be_copied_again() {
    for state in TableState::ALL {
        for command in COMMANDS {
            let next = state.after(command, true);
            match (state, command) {
                (Quarantined | Changed, Resync) => assert_eq!(next, Ok(Resyncing)),
                (Quarantined | Changed, _) => assert_eq!(next, Err(CommandError::Missed)),
                _ => assert_eq!(next, state.after(command, false)),
            }
        }
    }
}

#[test]
fn nothing_makes_a_waiting_table_ready_but_the_stream_itself() {
    for state in TableState::ALL {
        for command in COMMANDS {
            assert_ne!(state.after(command, false), Ok(Ready), "{state} {command}");
        }
    }
    assert_eq!(Pending.after(Resync, false), Err(CommandError::Copying(Pending)));
    assert_eq!(Copying.after(Retry, false), Err(CommandError::Copying(Copying)));
    assert_eq!(Changed.after(Retry, false), Err(CommandError::NeedsAccept));
}

#[test]
fn only_a_table_that_is_behind_parks_its_changes() {
    let parking: Vec<_> = TableState::ALL.into_iter().filter(|state| state.parks()).collect();
    assert_eq!(parking, [Quarantined, Changed, Resyncing, Replaying]);
}

#[test]
fn states_and_commands_are_read_as_they_are_written() {
    for state in TableState::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
    for command in COMMANDS {
        assert_eq!(command.as_str().parse(), Ok(command));
    }
    assert_eq!("repaired".parse::<TableState>(), Err(()));
}
