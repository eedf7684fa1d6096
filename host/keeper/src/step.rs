//! What a keeper was doing when it failed: a number on the wire, a phrase for people.

use std::fmt;

macro_rules! steps {
    ($($number:literal $name:ident $phrase:literal,)*) => {
        /// A step of starting a task or a command. Numbers are never used again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Step {
            $(#[doc = $phrase] $name,)*
            /// One that a later keeper knows.
            Other(u32),
        }

        impl Step {
            /// By its number.
            pub fn from_number(number: u32) -> Step {
                match number {
                    $($number => Step::$name,)*
                    other => Step::Other(other),
                }
            }

            /// Its number on the wire.
            pub fn number(self) -> u32 {
                match self {
                    $(Step::$name => $number,)*
                    Step::Other(other) => other,
                }
            }
        }

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Step::$name => f.write_str($phrase),)*
                    Step::Other(other) => write!(f, "step {other} of a later keeper"),
                }
            }
        }
    };
}

steps! {
    1 Record "reading what is to be started",
    2 Session "becoming a session of its own",
    3 Listen "listening for the plugin",
    4 Clone "making the process",
    5 Cgroup "entering the control group",
    6 Network "entering the network namespace",
    7 Namespaces "making namespaces",
    8 Root "preparing the root directory",
    9 Mount "mounting",
    10 Proc "mounting /proc",
    11 Sys "mounting /sys",
    12 Dev "making /dev",
    13 Device "making a device node",
    14 File "laying a file over the root",
    15 Pivot "changing the root directory",
    16 Limit "setting a resource limit",
    17 OomScore "setting the OOM score",
    18 Groups "setting the groups",
    19 User "changing the user",
    20 Capabilities "setting the capabilities",
    21 NoNewPrivileges "setting no_new_privs",
    22 WorkDir "changing to the working directory",
    23 Streams "setting up the standard streams",
    24 State "writing the state file",
    25 Execute "executing",
    26 Init "starting init",
    27 Join "entering the task's namespaces",
    28 Terminal "opening a terminal",
    29 Ended "the task has ended",
    30 Running "the task is running",
    31 Lookup "looking for the program",
    32 Filter "installing the seccomp filter",
    33 Overlay "laying the root directory over the host's",
    34 Landlock "restricting the task to its paths",
    35 TimeNamespace "making the time namespace",
    36 UserNamespace "making the user namespace",
    40 Make "making what the task is to find",
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn a_step_is_its_number_and_one_of_a_later_keeper_keeps_its() {
        for number in 0..200 {
            assert_eq!(Step::from_number(number).number(), number);
        }
        assert_eq!(Step::from_number(25), Step::Execute);
    }
}
