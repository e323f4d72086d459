-- a large name that does not change is not sent again
update kontrahenci set telefon = '+48 601 777 001', zmieniono = '2025-01-01 12:00:00+01' where id in (10, 20);
update kontrahenci set email = 'klient10@example.com' where id = 30;
-- deleted by flag and back again
update kontrahenci set usuniety = not usuniety where id between 1 and 12;
-- contractors change: their keys (and those of their invoices), whom they are
update kontrahenci set id = 901 where id = 14;
update kontrahenci set firma = 1 where id = 13;
update zamowienia set kontrahent = 901 where kontrahent = 14;
update kontrahenci set rodzaj = 'osoba' where id between 15 and 18;
update kontrahenci set nip = '1234567890' where id = 19;
delete from kontrahenci where id in (21, 22);
-- invoices are paid, called off, moved and deleted
update faktury set stan = 2, do_zaplaty = 0 where numer between 1 and 30;
update faktury set stan = 9 where numer between 31 and 35;
update faktury set kontrahent = 23, firma = 2 where numer between 36 and 40;
update faktury set numer = numer + 1000 where numer between 41 and 45;
delete from faktury where numer between 46 and 55;
-- orders move between a guest and a contractor
update zamowienia set firma = 2, kontrahent = 25 where firma is null and numer < 'ZS/4';
update zamowienia set kontrahent = null where numer like 'ZS/7%';
delete from pozycje where lp = 1;
update pozycje set lp = 1 where lp = 2;
-- in one transaction
begin;
insert into kontrahenci values (1, 950, 'firma', 'Krótka', null, null, 'PL 526-025-02-74', 'klient950@example.com', 'klient7@przykład.pl', null, false, '2025-02-02 00:00:00+01');
insert into faktury values (1, 'FV', 5000, 950, 'PLN', 1.10, null, '2025-01-01', '2025-01-02', 0);
update faktury set brutto = 2.20 where numer = 5000;
delete from faktury where numer = 5000;
insert into faktury values (1, 'FV', 5000, 950, 'PLN', 3.30, null, '2025-01-01', '2025-01-02', 0);
insert into zamowienia values ('b0000000-0000-4000-8000-000000000950', 1, 950, 'ZS/950', null, null, 'PLN', 10.00, 'gotowe', '2025-03-30 02:30:00');
insert into pozycje values ('b0000000-0000-4000-8000-000000000950', 1, 'T-1', 'herbata', 1.5, null);
commit;
begin;
delete from zamowienia;
truncate faktury;
rollback;
insert into zgody (firma, kontrahent, cel, udzielona, kiedy) values (2, 25, 'newsletter', false, '2025-10-26 02:30:00'), (1, 950, 'sms', true, null);
delete from kontakty where kontrahent < 5;
update kontakty set kiedy = kiedy + interval '1 day' where kontrahent between 5 and 9;
delete from adresy where kontrahent between 7 and 11;
update adresy set ulica = null, kontrahent = kontrahent + 2 where kontrahent between 13 and 17;
