//! Pays for requests within a limit that the user gave.

use betanet_bar::{Request, Response};
use betanet_voucher_service::{CODE_HEADER, PRICE_HEADER, Price, with_vouchers};
use betanet_vouchers::Voucher;
use betanet_vouchers::wallet::WalletError;
use betanet_wire::Code;

use crate::Fail;
use crate::args::{DialArgs, SpendArgs, WalletArgs};

use super::flow::{failed, go_on, known, swap};
use super::net::Net;
use super::purse::Purse;

/// A wallet that pays for requests.
pub(crate) struct Payer {
    purse: Purse,
    dial: DialArgs,
    budget: Budget,
    /// The payment of the next request.
    ready: Option<Ready>,
}

/// The limit that the user gave.
#[derive(Debug)]
struct Budget {
    /// Units that may still be spent.
    left: u64,
    /// Units that were spent.
    spent: u64,
}

impl Budget {
    /// Takes a price in vouchers of this unit. The limit counts what was sent, even if the peer says that it refused the payment:
    /// a peer that has vouchers can spend them.
    fn take(&mut self, price: &Price, unit: &str) -> Result<(), Fail> {
        if price.unit != unit {
            return Err(Fail::Peer(format!(
                "the peer asks {} {} in vouchers of another unit, {unit}",
                price.units, price.unit
            )));
        }
        match self.left.checked_sub(price.units) {
            Some(left) => self.left = left,
            None => {
                return Err(Fail::Usage(format!(
                    "the peer asks {} {unit} for this request, and {} of --pay-max are left",
                    price.units, self.left
                )));
            }
        }
        Ok(())
    }
}

struct Ready {
    id: [u8; 16],
    units: u64,
    vouchers: Vec<Voucher>,
    /// Whether a request with it was sent.
    sent: bool,
}

impl Payer {
    /// Opens the wallet that the flags name; `None` without a limit.
    pub(crate) fn open(args: &SpendArgs, dial: &DialArgs) -> Result<Option<Self>, Fail> {
        let (Some(left), Some(wallet)) = (args.pay_max, &args.wallet) else {
            return Ok(None);
        };
        let purse = Purse::open(&WalletArgs {
            wallet: wallet.clone(),
            password_file: args.password_file.clone(),
            json: false,
        })?;
        Ok(Some(Self {
            purse,
            dial: dial.clone(),
            budget: Budget { left, spent: 0 },
            ready: None,
        }))
    }

    /// Puts the payment into a request, if there is one.
    pub(crate) fn put(&mut self, request: &mut Request) {
        if let Some(ready) = &mut self.ready {
            ready.sent = true;
            let headers = std::mem::take(&mut request.headers);
            request.headers = with_vouchers(headers, &ready.vouchers);
        }
    }

    /// Looks at an answer. Returns whether the request should be sent again, with the payment that the answer asks for.
    pub(crate) async fn answered(&mut self, head: &Response) -> Result<bool, Fail> {
        let price = head.headers.text(PRICE_HEADER).and_then(Price::parse);
        let asked = price.filter(|_| head.status == 429);
        if let Some(ready) = self.ready.take() {
            return self.settled(ready, head, asked.is_some()).map(|()| false);
        }
        let Some(price) = asked else { return Ok(false) };
        self.prepare(&price).await?;
        Ok(true)
    }

    /// Books the payment of a request that was answered.
    fn settled(&mut self, ready: Ready, head: &Response, asked: bool) -> Result<(), Fail> {
        if (200..300).contains(&head.status) {
            self.purse.wallet.gone(&ready.id).map_err(failed)?;
            self.purse.save()?;
            self.budget.spent += ready.units;
            note!("paid {} units", ready.units);
            return Ok(());
        }
        // By the answer nothing was redeemed: the vouchers are good, or their service says otherwise when they are used. The units stay
        // taken from the limit, because the peer has the vouchers.
        self.purse.wallet.take_back(&ready.id).map_err(failed)?;
        self.purse.save()?;
        if asked {
            let code = head
                .headers
                .text(CODE_HEADER)
                .and_then(|c| c.parse().ok())
                .map(Code);
            let mut why = code.map_or_else(String::new, |code| format!(": {code}"));
            if code == Some(Code::VOUCHER_SPENT) {
                why.push_str("; betanet pay resume drops what is spent");
            }
            return Err(Fail::Peer(format!("the payment was refused{why}")));
        }
        Ok(())
    }

    /// Takes vouchers of the price out of the wallet.
    async fn prepare(&mut self, price: &Price) -> Result<(), Fail> {
        let keyset = known(&self.purse, &price.keyset)?;
        self.budget.take(price, keyset.unit())?;
        let id = self.purse.number();
        let given = self.purse.wallet.give(&keyset.id(), price.units, id);
        match given {
            Ok(()) => {}
            Err(WalletError::NoExact) => {
                let (mints, _) = self.purse.mints_of(&keyset)?;
                note!(
                    "note: the wallet swaps and pays at once, and the mint can tell the payer by the time"
                );
                let mut net = Net::new(&mints, &self.dial)?;
                let work = async {
                    let id = swap(&mut self.purse, &keyset, &[price.units])?;
                    go_on(&mut self.purse, &mut net, &id, &keyset).await
                };
                let done = work.await;
                net.close().await;
                done?;
                let again = self.purse.wallet.give(&keyset.id(), price.units, id);
                again.map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.purse.save()?;
        let vouchers = self.purse.wallet.given(&id).map_err(failed)?;
        self.ready = Some(Ready {
            id,
            units: price.units,
            vouchers,
            sent: false,
        });
        Ok(())
    }

    /// Ends: a payment that no answer came for stays open in the wallet. Returns the units that were spent.
    pub(crate) fn close(mut self) -> Result<u64, Fail> {
        if let Some(ready) = self.ready.take() {
            if ready.sent {
                note!(
                    "note: it is not known whether {} units were spent: betanet pay resume",
                    ready.units
                );
            } else {
                self.purse.wallet.take_back(&ready.id).map_err(failed)?;
                self.purse.save()?;
            }
        }
        Ok(self.budget.spent)
    }
}

#[cfg(test)]
mod tests {
    use betanet_vouchers::KeysetId;

    use super::*;

    #[test]
    fn a_limit_holds_for_all_that_is_sent_and_for_one_unit() {
        let price = |units, unit: &str| Price {
            units,
            unit: unit.to_owned(),
            keyset: KeysetId([1; 32]),
        };
        let mut budget = Budget { left: 10, spent: 0 };
        let other = budget.take(&price(1, "cent"), "credit");
        assert!(matches!(other, Err(Fail::Peer(_))) && budget.left == 10);
        assert!(budget.take(&price(6, "credit"), "credit").is_ok());
        // The first payment was refused, and the peer asks another price.
        let more = budget.take(&price(5, "credit"), "credit");
        assert!(matches!(more, Err(Fail::Usage(why)) if why.contains("4 of --pay-max")));
        assert!(budget.take(&price(4, "credit"), "credit").is_ok());
        assert_eq!(budget.left, 0);
    }
}
