//! Part of the service: see the module that starts it.

use super::service::Seat;

/// Goes on until the service stops.
pub async fn serve(seat: Seat) {
    seat.stop.cancelled().await;
}
