//! Two ends of a handover, over a real socket.

use super::*;

fn bound() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    (listener.local_addr().expect("an address"), listener)
}

fn sockets() -> Sockets {
    Sockets { listen: vec![bound(), bound()], admin: Some(bound()) }
}

async fn taken(path: &Path) -> (Sockets, Predecessor) {
    let path = path.to_owned();
    let taken = tokio::task::spawn_blocking(move || take_over(&path)).await.expect("no panic");
    taken.expect("the sockets").expect("somebody listens")
}

#[tokio::test]
async fn the_same_sockets_arrive_under_their_addresses() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("handover.sock");
    let desk = Desk::open(&path).expect("a desk");
    let own = sockets();
    let successor = async {
        let (given, predecessor) = taken(&path).await;
        predecessor.relieve().expect("the other one listens");
        given
    };
    let (mut given, ()) = tokio::join!(successor, desk.relieved(&own));
    for (address, _) in &own.listen {
        let listener = given.take(*address).expect("it was given");
        assert_eq!(listener.local_addr().expect("an address"), *address);
        let client = std::net::TcpStream::connect(address).expect("somebody listens");
        let (_, peer) = listener.accept().expect("the connection is in the shared queue");
        assert_eq!(peer, client.local_addr().expect("an address"));
        assert!(given.take(*address).is_none(), "each is given once");
    }
    let admin = own.admin.as_ref().expect("it is there").0;
    assert!(given.take_admin(own.listen[0].0).is_none());
    assert!(given.take_admin(admin).is_some());
}

#[tokio::test]
async fn a_successor_that_dies_before_it_is_ready_relieves_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("handover.sock");
    let desk = Desk::open(&path).expect("a desk");
    let own = sockets();
    let relieved = desk.relieved(&own);
    tokio::pin!(relieved);
    tokio::select! {
        () = &mut relieved => panic!("a dead successor counted as ready"),
        (given, predecessor) = taken(&path) => drop((given, predecessor)),
    }
    let second = async {
        let (_given, predecessor) = taken(&path).await;
        predecessor.relieve().expect("the other one still listens");
    };
    tokio::join!(relieved, second);
}

#[test]
fn nobody_to_take_over_from_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("handover.sock");
    assert!(take_over(&path).expect("no error").is_none());
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(take_over(&path).expect("a dead socket is no error").is_none());
}

#[tokio::test]
async fn the_desk_is_private_and_leaves_only_its_own_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("handover.sock");
    let first = Desk::open(&path).expect("a desk");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let second = Desk::open(&path).expect("in place of the first");
    drop(first);
    assert!(path.exists(), "the first one removed the second one's socket");
    drop(second);
    assert!(!path.exists());
}
