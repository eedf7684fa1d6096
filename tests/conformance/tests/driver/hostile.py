# What a hostile task tries. One line for each: `NAME: contained: WHY` or `NAME: GOT: WHAT`. Arguments: a process of the host that is nobody's
# task, a file that will say which process holds this one, a file of the host's that all may read.
import ctypes, os, platform, signal, socket, stat, struct, sys, time

victim, secret = int(sys.argv[1]), sys.argv[3]
while not os.path.exists(sys.argv[2]) or not open(sys.argv[2]).read().endswith('\n'):
    time.sleep(0.02)
keeper = int(open(sys.argv[2]).read())
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
NR = dict(ptrace=101, mount=165, unshare=272, setns=308, keyctl=250, add_key=248, userfaultfd=323, bpf=321, perf_event_open=298,
          open_by_handle_at=304, io_uring_setup=425, init_module=175, kexec_load=246, settimeofday=164, syslog=103, reboot=169,
          swapon=167, pidfd_open=434, process_vm_readv=310, capset=126, pivot_root=155, iopl=172, fsopen=430, personality=135,
          name_to_handle_at=303, clone3=435) if x86 else dict(
          ptrace=117, mount=40, unshare=97, setns=268, keyctl=219, add_key=217, userfaultfd=282, bpf=280, perf_event_open=241,
          open_by_handle_at=265, io_uring_setup=425, init_module=105, kexec_load=104, settimeofday=170, syslog=116, reboot=142,
          swapon=224, pidfd_open=434, process_vm_readv=270, capset=91, pivot_root=41, fsopen=430, personality=92,
          name_to_handle_at=264, clone3=435)

def call(name, *args):
    ctypes.set_errno(0)
    got = libc.syscall(NR[name], *[a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in args])
    if got == -1:
        raise OSError(ctypes.get_errno(), name)
    return got

class Contained(Exception):
    pass

def sees(path):
    with open(path) as file:
        return file.read()

def in_a_child(act):
    '''What it returns as text; b'' where it was contained. What it did to itself ends with it.'''
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.write(writer, (act() or '').encode())
        except (OSError, Contained) as why:
            os.write(writer, b'\0' + (os.strerror(why.errno) if isinstance(why, OSError) else str(why)).encode())
        os._exit(0)
    os.close(writer)
    told = os.fdopen(reader, 'rb').read()
    os.waitpid(child, 0)
    if not told or told.startswith(b'\0'):
        raise Contained(told[1:].decode() or 'nothing came of it')
    return told.decode()

def other_processes():
    own = [int(name) for name in os.listdir('/proc') if name.isdigit()]
    if victim in own and os.path.exists(f'/proc/{victim}/cmdline') and 'yurt-bystander' in sees(f'/proc/{victim}/cmdline'):
        return f'sees process {victim} of the host'
    raise Contained(f'sees {len(own)} processes')

def signal_a_stranger():
    os.kill(victim, signal.SIGKILL)
    return f'killed process {victim}'

def signal_everybody():
    # Process 1 of this namespace, and its own parent.
    for pid in {1, os.getppid()} - {0, os.getpid()}:
        try:
            os.kill(pid, signal.SIGSTOP)
        except PermissionError:
            continue
    raise Contained('nobody of the host hears it')

def signal_the_keeper():
    os.kill(keeper, signal.SIGKILL)
    return 'killed what holds the task'

def keeper_s_socket():
    for line in sees('/proc/net/unix').splitlines()[1:]:
        path = line.split()[-1]
        if path.endswith('/socket') and 'yurt' in path or path.startswith('@') and 'yurt' in path:
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(path.replace('@', '\0'))
                return f'connected to {path}'
    raise Contained('there is none that it could reach')

def secret_of_the_host():
    return sees(secret) and 'read it by its path'

def by_parent_directories():
    return sees('../' * 40 + secret.lstrip('/')) and 'read it by ..'

def by_a_root_within_the_root():
    def act():
        os.makedirs('/tmp/within', exist_ok=True)
        fd = os.open('/', os.O_RDONLY)
        os.chroot('/tmp/within')
        os.fchdir(fd)
        for _ in range(40):
            os.chdir('..')
        os.chroot('.')
        return sees(secret) and 'read it after a second chroot'
    return in_a_child(act)

def by_the_root_of_process_1():
    return sees('/proc/1/root' + secret) and 'read it through /proc/1/root'

def by_handle():
    buffer = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))
    mount_id = ctypes.create_string_buffer(4)
    call('name_to_handle_at', -100, b'/', buffer, mount_id, 0)
    fd = os.open('/tmp', os.O_RDONLY | os.O_CLOEXEC)
    # Inode 2 is the root of most file systems.
    handle = ctypes.create_string_buffer(struct.pack('IiII', 8, 1, 2, 0))
    try:
        return f"opened the host's root as {call('open_by_handle_at', fd, handle, 0)}"
    finally:
        os.close(fd)

def disk_of_the_host():
    for line in sees('/proc/partitions').splitlines()[2:] or ['254 0 0 x']:
        major, minor = map(int, line.split()[:2])
        os.mknod('/tmp/disk', stat.S_IFBLK | 0o666, os.makedev(major, minor))
        try:
            fd = os.open('/tmp/disk', os.O_RDONLY)
            return f'opened disk {major}:{minor}, {len(os.read(fd, 512))} bytes'
        finally:
            os.unlink('/tmp/disk')
    raise Contained('there is none')

def memory_of_the_machine():
    os.mknod('/tmp/mem', stat.S_IFCHR | 0o666, os.makedev(1, 1))
    try:
        os.open('/tmp/mem', os.O_RDWR)
        return 'opened /dev/mem'
    finally:
        os.unlink('/tmp/mem')

def a_mount():
    call('mount', b'none', b'/tmp', b'tmpfs', 0, 0)
    return 'mounted a tmpfs'

def a_new_mount_by_fsopen():
    return f"opened one as {call('fsopen', b'tmpfs', 0)}"

def more_capabilities():
    def act():
        def held():
            return int(next(line for line in sees('/proc/self/status').splitlines() if line.startswith('CapPrm')).split()[1], 16)
        before = held()
        header = ctypes.create_string_buffer(struct.pack('Ii', 0x20080522, 0))
        call('capset', header, ctypes.create_string_buffer(struct.pack('6I', *[0xffffffff] * 6)))
        return f'holds {held():x} after {before:x}' if held() & ~before else ''
    return in_a_child(act)

def root_by_a_user_namespace():
    def act():
        call('unshare', 0x10000000 | 0x00020000)
        call('mount', b'none', b'/tmp', b'tmpfs', 0, 0)
        return 'is root of a namespace, and mounts'
    return in_a_child(act)

def clone3():
    child = call('clone3', ctypes.create_string_buffer(struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)), 88)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return 'made a user namespace'

def namespaces_of_others():
    for pid in {1, os.getppid(), keeper} - {os.getpid()}:
        for kind in 'mnt', 'pid', 'net':
            try:
                fd = os.open(f'/proc/{pid}/ns/{kind}', os.O_RDONLY)
            except OSError:
                continue
            if os.readlink(f'/proc/{pid}/ns/{kind}') != os.readlink(f'/proc/self/ns/{kind}'):
                call('setns', fd, 0)
                return f'joined the {kind} namespace of {pid}'
    raise Contained('finds none but its own')

def trace_process_1():
    if os.getpid() == 1:
        raise Contained('is process 1 itself')
    call('ptrace', 16, 1, 0, 0)
    return 'traces process 1'

def trace_a_stranger():
    call('ptrace', 16, victim, 0, 0)
    return 'traces a process of the host'

def read_a_stranger_s_memory():
    buffer = ctypes.create_string_buffer(8)
    local = ctypes.create_string_buffer(struct.pack('QQ', ctypes.addressof(buffer), 8))
    for pid in {victim, keeper, 1} - {os.getpid()}:
        try:
            call('process_vm_readv', pid, local, 1, local, 1, 0)
            return f'reads the memory of {pid}'
        except OSError as why:
            last = why
    raise last

def keys():
    call('add_key', b'user', b'yurt-hostile', b'x', 1, -4)
    return 'put one into the keyring of its user'

def keys_of_others():
    call('keyctl', 0, -3, 0)
    return "may look into the session's keyring"

def userfaultfd():
    os.close(call('userfaultfd', 0))
    return 'has one'

def io_uring():
    os.close(call('io_uring_setup', 4, ctypes.create_string_buffer(120)))
    return 'has one'

def bpf():
    call('bpf', 0, ctypes.create_string_buffer(struct.pack('IIIII', 2, 4, 4, 1, 0) + bytes(100)), 72)
    return 'made a map'

def perf():
    call('perf_event_open', ctypes.create_string_buffer(struct.pack('II', 1, 112) + bytes(104)), 0, -1, -1, 0)
    return 'counts events of the kernel'

def kernel_s_log():
    return f"may read {call('syslog', 10, 0, 0)} bytes of it"

def clock():
    call('settimeofday', ctypes.create_string_buffer(struct.pack('qq', int(time.time()), 0)), 0)
    return 'set it'

def kernel_s_module():
    call('init_module', b'', 0, b'')
    return 'loaded one'

def switch_off():
    call('reboot', 0xfee1dead, 672274793, 0x89abcdef, 0)
    return 'changed what ctrl-alt-del does'

def write_proc():
    for path, text in ('/proc/sys/kernel/core_pattern', '|/tmp/x'), ('/proc/sysrq-trigger', 'h'), ('/proc/sys/kernel/hostname', 'owned'):
        try:
            with open(path, 'w') as file:
                file.write(text)
            return f'wrote {path}'
        except OSError as why:
            last = why
    raise last

def write_sys():
    with open('/sys/kernel/uevent_helper' if os.path.exists('/sys/kernel/uevent_helper') else '/sys/kernel/mm/transparent_hugepage/enabled', 'w') as file:
        file.write('')
    return 'wrote it'

def kernel_s_memory():
    return len(open('/proc/kcore', 'rb').read(16)) and 'read /proc/kcore'

def limits_of_its_control_group():
    for line in sees('/proc/self/mountinfo').splitlines():
        where = line.split()[4]
        if ' cgroup' in line.split(' - ')[1][:7] or ' - cgroup' in line:
            own = next((one.split(':', 2)[2] for one in sees('/proc/self/cgroup').splitlines()), '/')
            for path in where + own + '/memory.max', where + own + '/memory.limit_in_bytes', where + '/release_agent':
                if os.path.exists(path):
                    with open(path, 'w') as file:
                        file.write('-1')
                    return f'wrote {path}'
    raise Contained('sees no file of any')

def open_files():
    own = [int(fd) for fd in os.listdir('/proc/self/fd')]
    strange = [f'{fd} → {os.readlink(f"/proc/self/fd/{fd}")}' for fd in own if fd > 2 and os.path.exists(f'/proc/self/fd/{fd}')]
    strange = [one for one in strange if not one.endswith('/proc/self/fd') and '/fd' not in one]
    if strange:
        return 'was given ' + ', '.join(strange)
    raise Contained('has three')

def overwrite_its_keeper():
    for pid in {1, os.getppid(), keeper} - {os.getpid()}:
        try:
            if 'python' in os.readlink(f'/proc/{pid}/exe'):
                continue
            os.open(f'/proc/{pid}/exe', os.O_WRONLY)
            return f'may write the program of {pid}'
        except OSError as why:
            last = why
    raise last

def shared_memory():
    with open('/dev/shm/yurt-hostile', 'wb') as file:
        file.write(b'x')
    raise Contained('has its own')

def fill_shared_memory():
    def act():
        with open('/dev/shm/full', 'wb') as file:
            for _ in range(4096):
                file.write(bytes(1 << 20))
        return 'wrote 4 GiB'
    try:
        return in_a_child(act)
    finally:
        if os.path.exists('/dev/shm/full'):
            os.unlink('/dev/shm/full')

def terminal_of_the_host():
    with open('/dev/tty', 'wb', buffering=0) as terminal:
        # TIOCSTI
        if libc.ioctl(terminal.fileno(), 0x5412, b'x') == -1:
            raise OSError(ctypes.get_errno(), 'ioctl')
    return 'typed into it'

ATTEMPTS = [other_processes, signal_a_stranger, signal_the_keeper, signal_everybody, keeper_s_socket, secret_of_the_host, by_parent_directories,
            by_a_root_within_the_root, by_the_root_of_process_1, by_handle, disk_of_the_host, memory_of_the_machine, a_mount,
            a_new_mount_by_fsopen, more_capabilities, root_by_a_user_namespace, clone3, namespaces_of_others, trace_process_1,
            trace_a_stranger, read_a_stranger_s_memory, keys, keys_of_others, userfaultfd, io_uring, bpf, perf, kernel_s_log, clock,
            kernel_s_module, switch_off, write_proc, write_sys, kernel_s_memory, limits_of_its_control_group, open_files,
            overwrite_its_keeper, shared_memory, fill_shared_memory, terminal_of_the_host]
for attempt in ATTEMPTS:
    name = attempt.__name__.replace('_s_', "'s_").replace('_', ' ')
    try:
        got = attempt()
        print(f'{name}: GOT: {got}' if got else f'{name}: contained: nothing came of it', flush=True)
    except Contained as why:
        print(f'{name}: contained: {why}', flush=True)
    except OSError as why:
        print(f'{name}: contained: {os.strerror(why.errno)}', flush=True)
print('done', flush=True)
